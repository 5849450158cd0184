"""A certificate authority of one test run, for everything that speaks TLS."""

import ssl
from pathlib import Path

import trustme
from cryptography.hazmat.primitives import serialization


class Authority:
    """Issues certificates for 127.0.0.1, good for servers and clients alike, as PEM files under one directory."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._ca = trustme.CA()
        self.certificate = directory / "ca.pem"
        self._ca.cert_pem.write_to_path(str(self.certificate))

    def issue(self, name: str) -> Path:
        """A file with a key (PKCS#8, as Java wants it), the certificate of this common name, and the authority's."""
        path = self._directory / f"{name}.pem"
        if not path.exists():
            issued = self._ca.issue_cert("127.0.0.1", "localhost", common_name=name, organization_name="jil")
            key = serialization.load_pem_private_key(issued.private_key_pem.bytes(), None).private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
            path.touch(mode=0o600)
            path.write_bytes(key + issued.cert_chain_pems[0].bytes() + self._ca.cert_pem.bytes())
        return path

    def client(self, name: str | None) -> ssl.SSLContext:
        """What a client needs that trusts this authority and, where it has a name, proves that."""
        context = ssl.create_default_context(cafile=str(self.certificate))
        if name is not None:
            context.load_cert_chain(self.issue(name))
        return context

"""Settings: typed, whole, and silent about secrets."""

from dataclasses import fields
from pathlib import Path

import pytest

from jilnode.settings import Settings, SettingsError, describe, load_settings

PASSWORD = "swordfish-and-chips"


def problems(**environment: str) -> list[str]:
    with pytest.raises(SettingsError) as refused:
        load_settings(environment)
    return refused.value.problems


def test_nothing_is_needed():
    settings = load_settings({})
    assert settings == Settings()
    assert (settings.node_id, settings.network, settings.jurisdiction) == ("dev-node-01", "dev", "XX_DEV")
    assert (settings.http_host, settings.http_port, settings.rate_limit) == ("127.0.0.1", 8400, True)
    assert settings.database_path == Path("data/node.db")


def test_the_rest_of_the_environment_is_not_looked_at():
    assert load_settings({"PATH": "/bin", "JILL": "up the hill"}) == Settings()


@pytest.mark.parametrize(
    ("name", "text", "field", "value"),
    [
        ("JIL_NODE_ID", "SG-MAS-01", "node_id", "sg-mas-01"),
        ("JIL_JURISDICTION", "JP_JFSA", "jurisdiction", "JP_FSA"),
        ("JIL_JURISDICTION", "AE_ADGM", "jurisdiction", "AE_FSRA"),
        ("JIL_JURISDICTION", "ch_finma", "jurisdiction", "CH_FINMA"),
        ("JIL_RATE_LIMIT", "off", "rate_limit", False),
        ("JIL_FORWARDING", "true", "forwarding", True),
        ("JIL_HTTP_PORT", "0", "http_port", 0),
        ("JIL_RESIDENT_BYTES", "1073741824", "resident_bytes", 1 << 30),
        ("JIL_PEERS", "http://a:1/, http://b:2", "peers", ("http://a:1", "http://b:2")),
        ("REDPANDA_SEEDS", "one:9092,two:9092", "redpanda_seeds", ("one:9092", "two:9092")),
        ("JIL_DATABASE_URL", "postgres://u@h/d", "database_url", "postgresql+asyncpg://u@h/d"),
        ("JIL_DATABASE_URL", "postgresql:///d?host=/run/pg", "database_url", "postgresql+asyncpg:///d?host=/run/pg"),
        (
            "JIL_DATABASE_URL",
            "postgresql://u:p%40w@[::1]:5432,%2Frun,h2:5433/d",
            "database_url",
            "postgresql+asyncpg://u:p%40w@[::1]:5432,%2Frun,h2:5433/d",
        ),
        ("JIL_REDIS_URL", "unix:///run/redis:1", "redis_url", "unix:///run/redis:1"),
        ("JIL_DATA_DIR", "d\udcff", "data_dir", Path("d\udcff")),
        ("JIL_LOG_LEVEL", "debug", "log_level", "DEBUG"),
        ("JIL_REGION", "", "region", "local"),
    ],
)
def test_what_is_understood(name, text, field, value):
    assert getattr(load_settings({name: text}), field) == value


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("JIL_NODE_ID", "no spaces, please"),
        ("JIL_JURISDICTION", "ATLANTIS"),
        ("JIL_NETWORK", "moonnet"),
        ("JIL_RESIDENT_BYTES", "1048576"),
        ("JIL_HTTP_PORT", "65536"),
        ("JIL_HTTP_PORT", "http"),
        ("JIL_HTTP_PORT", "-1"),
        ("JIL_CACHE_BYTES", "0"),
        ("JIL_RATE_LIMIT", "maybe"),
        ("JIL_PUBLIC_URL", "ftp://example.com"),
        ("JIL_PUBLIC_URL", "https://me:secret@example.com"),
        ("JIL_PUBLIC_URL", "https://exam ple.com"),
        ("JIL_PUBLIC_URL", "https://example.com/?q=1"),
        ("JIL_PUBLIC_URL", "https://["),
        ("JIL_PEERS", "http://a:1,b:2"),
        ("REDPANDA_SEEDS", "broker"),
        ("REDPANDA_SEEDS", "broker:0"),
        ("REDPANDA_SEEDS", "broker:65536"),
        ("JIL_PEERS", "http://a:port"),
        ("JIL_PEERS", "http://a:65536"),
        ("JIL_PEERS", "http://[::1"),
        ("JIL_JWKS_URL", "https://a:port"),
        ("JIL_DATABASE_URL", "mysql://u@h/d"),
        ("JIL_DATABASE_URL", "postgresql://u:p@h:port/d"),
        ("JIL_DATABASE_URL", "postgresql://u:p@h:65536/d"),
        ("JIL_DATABASE_URL", "postgresql://u:p@[::1/d"),
        ("JIL_DATABASE_URL", "postgresql://u:p/word@h/d"),
        ("JIL_REDIS_URL", "redis://h:port"),
        ("JIL_HTTP_HOST", "\udcff"),
        ("JIL_REGION", "Z\udcfcrich"),
        ("JIL_REDIS_URL", "localhost"),
        ("JIL_LOG_LEVEL", "LOUD"),
        ("JIL_TRUSTED_PROXIES", "the.proxy"),
        ("JIL_TRUST_FILE", "/nowhere/trust.json"),
    ],
)
def test_what_is_refused(name, text):
    (problem,) = problems(**{name: text})
    assert problem.startswith(f"{name}: ")


@pytest.mark.parametrize(
    ("wrong", "right"),
    [
        ("JIL_HTTP_PROT", "JIL_HTTP_PORT"),
        ("JIL_NODEID", "JIL_NODE_ID"),
        ("JIL_DATABASE_URI", "JIL_DATABASE_URL"),
        ("JIL_KAFKA_CERTIFICATE_FILE", "JIL_KAFKA_CERT_FILE"),
    ],
)
def test_an_unknown_name_is_told_its_nearest(wrong, right):
    assert problems(**{wrong: "x"}) == [f"{wrong} is not a setting; did you mean {right}?"]


def test_everything_that_is_wrong_is_said_at_once():
    assert len(problems(JIL_HTTP_PORT="x", JIL_RATE_LIMIT="y", JIL_NOTHING="z")) == 3


@pytest.mark.parametrize(
    ("environment", "named"),
    [
        ({"JIL_NETWORK": "testnet", "JIL_JWKS_URL": "https://k.example", "JIL_JWT_ISSUER": "i"}, "JIL_JURISDICTION"),
        ({"JIL_NETWORK": "testnet", "JIL_JURISDICTION": "CH_FINMA"}, "JIL_JWKS_FILE"),
        ({"JIL_JWKS_URL": "https://k.example"}, "JIL_JWT_ISSUER"),
        ({"REDPANDA_SEEDS": "b:1", "JIL_PEERS": "http://a:1"}, "JIL_PEERS"),
    ],
)
def test_what_contradicts_itself_is_refused(environment, named):
    assert any(named in problem for problem in problems(**environment))


def test_tls_needs_both_halves(tmp_path):
    certificate = tmp_path / "cert.pem"
    certificate.write_text("")
    (problem,) = problems(JIL_HTTP_CERT_FILE=str(certificate))
    assert "JIL_HTTP_KEY_FILE" in problem


def test_following_others_and_believing_none_is_said():
    settings = load_settings({"JIL_PEERS": "http://127.0.0.1:1"})
    assert any(text.startswith("JIL_TRUST_FILE") for text in settings.missing())
    assert not Settings().missing()


@pytest.mark.parametrize(
    ("name", "text", "field"),
    [
        ("JIL_DATABASE_URL", f"postgresql+asyncpg://jil:{PASSWORD}@db/jil", "database_url"),
        ("JIL_REDIS_URL", f"redis://:{PASSWORD}@cache/0", "redis_url"),
    ],
)
def test_a_secret_may_come_from_a_file_and_is_never_shown(tmp_path, name, text, field):
    path = tmp_path / "secret"
    path.write_text(text + "\n")
    for environment in ({name: text}, {f"{name}_FILE": str(path)}):
        settings = load_settings(environment)
        assert getattr(settings, field) == text
        assert PASSWORD not in repr(settings)
        assert PASSWORD not in str(settings)


def test_a_refusal_does_not_repeat_a_secret():
    assert PASSWORD not in str(problems(JIL_DATABASE_URL=f"mysql://jil:{PASSWORD}@db/jil"))
    assert PASSWORD not in str(problems(JIL_REDIS_URL=PASSWORD))
    for name, scheme in (("JIL_DATABASE_URL", "postgresql"), ("JIL_REDIS_URL", "redis")):
        (problem,) = problems(**{name: f"{scheme}://jil:{PASSWORD}/{PASSWORD}@db/1"})
        assert PASSWORD not in problem


def test_a_secret_file_that_is_not_there_is_named():
    (problem,) = problems(JIL_DATABASE_URL_FILE="/nowhere/url")
    assert problem.startswith("JIL_DATABASE_URL_FILE: /nowhere/url")


def test_a_secret_comes_from_one_place(tmp_path):
    path = tmp_path / "secret"
    path.write_text("postgresql://a@b/c")
    (problem,) = problems(JIL_DATABASE_URL="postgresql://a@b/d", JIL_DATABASE_URL_FILE=str(path))
    assert "one of them" in problem


def test_the_table_lists_every_setting():
    rows = describe()
    assert [row.name.removesuffix("[_FILE]") for row in rows] == [item.metadata["name"] for item in fields(Settings)]
    assert all(row.kind and row.text for row in rows)

"""The command line, command by command, on small real databases."""

import asyncio
import io
import json
import sqlite3
import stat
from pathlib import Path

import jwt
import pytest

from jilnode.audit import Auditor
from jilnode.cli.genesis import genesis_hash
from jilnode.cli.journals import journal_records
from jilnode.cli.main import COMMANDS, main
from jilnode.identity import IdentityError, load_identity
from jilnode.kernel.command import Submission
from jilnode.kernel.kernel import Kernel
from jilnode.module import installed_modules
from jilnode.parts import build_kernel, build_keys
from jilnode.settings import Settings, describe
from services.wallet.intents import CreateAccount, CreateAsset, Issue, PostTransfer

SCOPES = frozenset({"wallet:read", "wallet:transfer", "wallet:issue", "wallet:operate"})


async def _write_journal(folder: Path, url: str = "") -> None:
    """One node's database: an asset, two accounts, money issued and moved."""
    kernel = build_kernel(Settings(data_dir=folder, database_url=url), installed_modules())
    await kernel.start()
    await kernel.begin_journal()
    kernel.run()
    kernel.allow_writes()
    for command in (
        CreateAsset("CHFX", 2),
        CreateAccount(handle="kestrel"),
        CreateAccount(handle="heron"),
        Issue("CHFX@dev-node-01", "kestrel@dev-node-01", "100.00"),
        PostTransfer("kestrel@dev-node-01", "heron@dev-node-01", "CHFX@dev-node-01", "12.50", "for a boat"),
    ):
        await kernel.writer.submit(Submission(command, "demo", SCOPES))
    await kernel.close()


@pytest.fixture
def home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return tmp_path / "data"


@pytest.fixture
def journal(home):
    asyncio.run(_write_journal(home))
    return home / "node.db"


@pytest.fixture
def run(capsys):
    """(exit code, standard output, standard error) of one command."""

    def call(*arguments):
        code = main([str(argument) for argument in arguments])
        return code, *capsys.readouterr()

    return call


def test_the_journal_of_a_node_is_proven(journal, run):
    code, out, _ = run("verify")
    assert code == 0
    assert "dev-node-01: 7 entries of epoch 0" in out
    assert run("verify", journal)[:2] == (0, out)


def test_an_export_is_proven_and_the_same_each_time(journal, run, tmp_path):
    path = tmp_path / "journal.jsonl"
    assert run("export", "--output", path)[0] == 0
    assert run("export")[1].encode() == path.read_bytes()
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    assert {line["type"] for line in lines} == {"jil.entry", "jil.seal"}
    assert set(lines[0]) == {"type", "value"}
    code, out, _ = run("verify", path)
    assert (code, out) == (0, _without_rows(run("verify", journal)[1]))


def _without_rows(out):
    """An export has no tables to compare."""
    assert "rows of the database are those of the journal" in out
    return "".join(line for line in out.splitlines(keepends=True) if "rows of the database" not in line)


SHARE = "dev-node-01/0-0000000004/CHFX@dev-node-01/dev-node-01"


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (
            """update "wallet.share" set doc = replace(doc{text}, '"available":1250', '"available":1251'){json}""",
            f"wallet.share {SHARE}: the table has another row",
        ),
        (
            """update "wallet.share" set sequence = 2 where key like '%4/CHFX%'""",
            f"wallet.share {SHARE}: the table has another row",
        ),
        (
            """update "wallet.transfer" set c_credit = 'x' where c_debit <> ''""",
            "wallet.transfer dev-node-01/0-0000000006: the table has another row",
        ),
        (
            """delete from "wallet.account" where key like '%3'""",
            "wallet.account dev-node-01/0-0000000003: it is in the j",
        ),
        (
            """insert into "wallet.asset" (key, owner, epoch, sequence, doc)
            values ('dev-node-01/X', 'dev-node-01', 0, 1, '{{"scale":2,"kind":"x"}}')""",
            "wallet.asset dev-node-01/X: it is in the table, and in no journal",
        ),
        (
            """delete from "wallet.supply" """,
            "wallet.supply dev-node-01/CHFX: it is in the journal, and not in the table",
        ),
    ],
)
@pytest.mark.parametrize("database", ["sqlite", "postgres"])
def test_a_table_that_is_not_what_the_journal_says(request, home, run, database, change, finding):
    if database == "sqlite":
        asyncio.run(_write_journal(home))
        connection = sqlite3.connect(home / "node.db")
        connection.execute(change.format(text="", json=""))
        connection.commit()
        connection.close()
        target = home / "node.db"
    else:
        server = request.getfixturevalue("postgres")
        target = server.database()
        asyncio.run(_write_journal(home, target))
        server.psql(change.format(text="::text", json="::json"), target.rpartition("/")[2])
    code, _, err = run("verify", target)
    assert (code, err.startswith(f"NOT PROVEN: {finding}")) == (1, True), err


def test_an_export_can_be_of_one_source(journal, run):
    assert run("export", "--source", "dev-node-01")[1] == run("export")[1]


def test_an_export_of_nothing_is_none(journal, run, tmp_path):
    code, out, err = run("export", "--source", "sg-mas-01", "--output", tmp_path / "journal.jsonl")
    assert (code, out, err) == (1, "", "jilnode: there is no journal of sg-mas-01 in it\n")
    assert not (tmp_path / "journal.jsonl").exists()


@pytest.mark.parametrize(
    ("column", "old", "new", "named"),
    [
        ("rows", '"amount":1250', '"amount":1251', "entry 0/6"),
        ("rows", '"salt":"', '"salt":"0', "entry 0/0"),
        ("header", '"actor":"demo"', '"actor":"dema"', "entry 0/1 to 2"),
    ],
)
def test_a_changed_database_is_not_proven(journal, run, column, old, new, named):
    connection = sqlite3.connect(journal)
    changed = connection.execute(
        f"update journal set {column} = replace({column}, ?, ?) where {column} like ?", (old, new, f"%{old}%")
    ).rowcount
    connection.commit()
    connection.close()
    code, _, err = run("verify")
    assert changed
    assert code == 1
    assert f"NOT PROVEN: dev-node-01: bad_{'section' if column == 'rows' else 'seal'}" in err
    assert named in err


def test_any_flipped_byte_of_an_export_is_found(journal, run, tmp_path):
    good = run("export")[1].encode()
    path = tmp_path / "bad.jsonl"
    for place in range(5, len(good), 397):
        bad = bytearray(good)
        bad[place] ^= 1
        path.write_bytes(bad)
        code, _, err = run("verify", path)
        assert (code, err.startswith("NOT PROVEN: ")) == (1, True), (
            f"byte {place}: {bytes(bad[place - 30 : place + 30])}"
        )


def test_a_missing_entry_is_found(journal, run, tmp_path):
    lines = run("export")[1].encode().splitlines(keepends=True)
    path = tmp_path / "bad.jsonl"
    for index in range(len(lines) - 1):
        if json.loads(lines[index])["type"] == "jil.entry":
            path.write_bytes(b"".join(lines[:index] + lines[index + 1 :]))
            code, _, err = run("verify", path)
            assert (code, err.startswith("NOT PROVEN: ")) == (1, True)


def test_entries_that_no_seal_covers_are_not_proven(journal, run, tmp_path):
    lines = run("export")[1].encode().splitlines(keepends=True)
    path = tmp_path / "bad.jsonl"
    path.write_bytes(b"".join(lines[:-1]))
    code, _, err = run("verify", path)
    assert code == 1
    assert "dev-node-01/0/6: no seal covers it" in err


def test_nothing_is_not_proven(home, run, tmp_path):
    path = tmp_path / "empty.jsonl"
    path.write_bytes(b"")
    assert run("verify", path) == (1, "", "NOT PROVEN: there is no journal in it\n")


@pytest.mark.parametrize(
    "change",
    [
        lambda value: value.replace('{"header":', '{ "header":'),
        lambda value: value.replace(',"sections":{', ', "sections":{'),
        lambda value: value[:-1] + " }",
        lambda value: value.replace('{"header":', '{"other":1,"header":'),
        lambda value: value.replace('{"header":', '{"header":{},"header":'),
    ],
)
def test_what_others_could_not_slice_is_not_proven(journal, run, tmp_path, change):
    """The wire page says how to cut an entry out of a record: who follows it must come to the same."""
    first, rest = run("export")[1].split("\n", 1)
    record = json.loads(first)
    path = tmp_path / "bad.jsonl"
    path.write_text(json.dumps(record | {"value": change(record["value"])}) + "\n" + rest)
    code, _, err = run("verify", path)
    assert (code, err.startswith("NOT PROVEN: unreadable: line 1: ")) == (1, True)


def test_a_trust_file_says_whose_genesis_it_is(journal, run, tmp_path):
    trust = tmp_path / "trust.json"
    trust.write_text(run("genesis")[1])
    code, out, _ = run("verify", "--trust", trust)
    assert code == 0
    assert "not proven" not in out
    trust.write_text(json.dumps({"dev-node-01": "00" * 32}))
    code, _, err = run("verify", "--trust", trust)
    assert code == 1
    assert "bad_genesis" in err
    trust.write_text("{}")
    code, _, err = run("verify", "--trust", trust)
    assert (code, err) == (1, "NOT PROVEN: dev-node-01/0/0: the trust file does not name dev-node-01\n")


async def _hold_open(folder: Path) -> Kernel:
    kernel = build_kernel(Settings(data_dir=folder), installed_modules())
    await kernel.start()
    return kernel


async def test_a_journal_is_proven_while_its_node_holds_the_lock(home):
    await _write_journal(home)
    kernel = await _hold_open(home)
    try:
        auditor = Auditor("dev", installed_modules(), None)
        async for record in journal_records(str(home / "node.db")):
            assert await auditor.take(record) is None
        assert await auditor.finish() is None
    finally:
        await kernel.close()


def test_events_are_printed_and_filtered(journal, run):
    lines = run("events")[1].splitlines()
    assert len(lines) == 7
    assert lines[-1].split()[1:] == ["dev-node-01/0/6", "wallet.transfer.posted", "demo"]
    assert len(run("events", "--type", "wallet.account")[1].splitlines()) == 2
    assert run("events", "--source", "sg-mas-01")[1] == ""


def test_a_database_that_is_not_there_is_said(home, run):
    code, _, err = run("verify")
    assert code == 1
    assert "node.db" in err


@pytest.mark.parametrize("command", ["verify", "export", "events"])
def test_a_database_that_has_no_address_is_said(run, command):
    code, _, err = run(command, "postgresql://u:p@host:port/name")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("jilnode: the database's address: host:port")


def test_genesis_is_made_once(home, run):
    code, out, _ = run("genesis")
    assert code == 0
    assert len(json.loads(out)["dev-node-01"]) == 64
    assert run("genesis")[1] == out


async def test_a_genesis_hash_is_the_first_epochs(home):
    settings = Settings(data_dir=home)
    first = await genesis_hash(settings)
    kernel = await _hold_open(home)
    await kernel.begin_epoch()
    await kernel.close()
    assert await genesis_hash(settings) == first


def test_an_identity_is_private(home, run):
    assert run("genesis")[0] == 0
    path = home / "identity.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    path.chmod(0o640)
    code, _, err = run("genesis")
    assert code == 1
    assert "chmod 600" in err


def test_an_identity_is_not_made_up_outside_dev(tmp_path):
    with pytest.raises(IdentityError, match="no key"):
        load_identity(tmp_path / "identity.pem", make=False)
    (tmp_path / "identity.pem").write_text("no key at all")
    (tmp_path / "identity.pem").chmod(0o600)
    with pytest.raises(IdentityError, match="not a private key"):
        load_identity(tmp_path / "identity.pem", make=True)


def test_a_token_says_what_was_asked(home, run):
    code, out, _ = run("token", "--subject", "kestrel", "--scope", "wallet:read", "--ttl", "60")
    assert code == 0
    claims = jwt.decode(out.strip(), options={"verify_signature": False})
    assert (claims["sub"], claims["scope"], claims["exp"] - claims["iat"]) == ("kestrel", "wallet:read", 60)


def test_a_development_key_that_is_none_is_said(home, run):
    home.mkdir()
    (home / "development.pem").write_text("no key at all")
    code, _, err = run("token")
    assert (code, err.count("\n")) == (1, 1)
    assert err.startswith("jilnode: data/development.pem is not an Ed25519 key")
    with pytest.raises(IdentityError, match="not an Ed25519 key"):
        build_keys(Settings(data_dir=Path("data")))


@pytest.mark.parametrize(
    "arguments",
    [
        ("token", "--ttl", "0"),
        ("token", "--subject", "no pseudonym"),
        ("fleet", "0"),
        ("fleet", "33"),
        ("fleet", "--first-port", "65536"),
        ("verify", "--network", "moonnet"),
        ("simulate", "--nodes", "0"),
        ("simulate", "--steps", "-1"),
    ],
)
def test_an_argument_that_can_not_be_is_said(home, run, arguments):
    with pytest.raises(SystemExit) as ended:
        run(*arguments)
    assert ended.value.code == 2
    assert not home.exists()


def test_a_fleet_has_a_port_for_each_node(home, run):
    assert run("fleet", "2", "--first-port", "65535")[0] == 2
    assert not home.exists()


def test_tokens_and_fleets_are_for_dev_only(home, run, monkeypatch):
    monkeypatch.setenv("JIL_NETWORK", "testnet")
    monkeypatch.setenv("JIL_JURISDICTION", "CH_FINMA")
    monkeypatch.setenv("JIL_JWKS_URL", "https://keys.example/jwks")
    monkeypatch.setenv("JIL_JWT_ISSUER", "https://keys.example")
    assert run("token")[0] == 1
    assert run("fleet", "2")[0] == 2
    assert not home.exists()


def test_check_lists_every_setting(run):
    code, out, _ = run("check", "--list")
    assert code == 0
    for row in describe():
        assert f"{row.name} " in out


def test_check_shows_what_a_terminal_can_not(home, monkeypatch):
    shown = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(shown, encoding="ascii", write_through=True))
    monkeypatch.setenv("JIL_REGION", "Z\u00fcrich")
    monkeypatch.setenv("JIL_DATA_DIR", "d\udcff")
    assert main(["check"]) == 0
    assert b"Z\\xfcrich" in shown.getvalue()
    assert b"d\\udcff" in shown.getvalue()


def test_check_says_what_is_missing(home, run, monkeypatch):
    assert run("check")[0] == 0
    monkeypatch.setenv("JIL_PEERS", "http://127.0.0.1:1")
    code, _, err = run("check")
    assert code == 1
    assert "missing: JIL_TRUST_FILE" in err
    monkeypatch.setenv("JIL_PEER", "x")
    code, _, err = run("check")
    assert code == 2
    assert "JIL_PEER is not a setting; did you mean JIL_PEERS?" in err


@pytest.mark.parametrize("command", ["check", "run"])
def test_what_a_setting_names_is_tried_and_named(run, home, monkeypatch, tmp_path, command):
    junk = tmp_path / "junk.pem"
    junk.write_text("junk")
    blocked = tmp_path / "file"
    blocked.write_text("")
    for name, text in {
        "JIL_JWKS_URL": "http://keys.example",
        "JIL_JWT_ISSUER": "somebody",
        "JIL_HTTP_CERT_FILE": str(junk),
        "JIL_HTTP_KEY_FILE": str(junk),
        "JIL_KAFKA_CA_FILE": str(junk),
        "JIL_DATA_DIR": str(blocked / "data"),
    }.items():
        monkeypatch.setenv(name, text)
    code, _, err = run(command)
    assert code == 2
    named = [line.removeprefix("jilnode: ").partition(":")[0].partition(",")[0] for line in err.splitlines()]
    assert named == ["JIL_JWKS_URL", "JIL_HTTP_CERT_FILE", "JIL_KAFKA_CA_FILE", "JIL_DATA_DIR"]
    monkeypatch.delenv("JIL_JWKS_URL")
    monkeypatch.setenv("JIL_JWKS_FILE", str(junk))
    code, _, err = run(command)
    assert (code, "JIL_JWKS_FILE: " in err) == (2, True)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(name, capsys):
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert f"jilnode {name}" in capsys.readouterr().out

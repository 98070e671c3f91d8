"""The command line's manners: exit statuses, one sentence for an error, no traceback, quick help."""

import errno
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from blocks.database.engine import Store
from blocks.errors import NO_ROOM, NoCredits, StoreError, UsageError
from deployments.cli import main as command_line
from deployments.cli.commands import down
from tests.cases import each_case


@each_case(
    ("arguments", "said"),
    [
        (["runn", "linen"], 'Unknown command "runn". Did you mean "run"?'),
        (["run"], "name at least one hashtag"),
        (["run", "linen", "--posts", "many"], "--posts is a whole number, such as 25; not many"),
        (["run", "linen", "--posts", "1.5", "--dry-run"], "--posts is a whole number, such as 25; not 1.5"),
        (["run", "linen", "--posts", "1e3", "--dry-run"], "--posts is a whole number, such as 25; not 1e3"),
        (["run", "linen", "--posts", "-1", "--dry-run"], "ask for at least 1 post per hashtag, not -1"),
        (["import", "creators", "https://www.tiktok.com/@loom", "--posts", "2.4"], "--posts is a whole number"),
        (["top", "--limit", "1.5"], "--limit is a whole number, such as 25; not 1.5"),
        (["sandbox", "--port", "1.5"], "--port is a whole number, such as 25; not 1.5"),
        (["sandbox", "--time-scale", "inf"], "--time-scale is a number of 0 or more, such as 12 or 0.5; not inf"),
        (["run", "linen", "--max-spend", "inf"], "--max-spend is an amount of US dollars, such as 2.50, or none"),
        (["run", "linen", "--max-spend", "1e300"], "--max-spend is an amount of US dollars, such as 2.50, or none"),
        (["sandbox", "--time-scale", "999999999999"], "--time-scale is between 0.001 and 100,000"),
        (["sandbox", "--latency-ms", "99999999"], "--latency-ms is 60,000 at most"),
        (["run", "linen", "--max-spend", "0.0000001"], "--max-spend is 0, or 0.000001 US dollars and more"),
        (["run", "linen", "--max-age", "inf"], "--max-age is a number of 0 or more, such as 12 or 0.5; not inf"),
        (["run", "linen", "--max-age", "9999999"], "(--max-age) is at most 876,000 hours, which is a hundred years"),
        (["run", "linen", "--posts", "0"], "ask for at least 1 post per hashtag, not 0"),
        (["run", "linen", "--posts", "100000000"], "at most 10,000 posts per hashtag, not 100,000,000"),
        (["run", "linen", "--posts", "10001", "--dry-run"], "at most 10,000 posts per hashtag, not 10,001"),
        (["run", "linen,denim"], "give the hashtags apart"),
        (["run", "two words"], "hashtag"),
        (["run", "linen", "--channel", "fax"], 'Invalid value "fax" for --channel. Choose from: "auto", "apify"'),
        (["run", "linen", "--library", "public"], "can never be deleted"),
        (["run", "linen", "--max-spend", "lots"], "--max-spend is an amount of US dollars"),
        (["run", "linen", "--max-age", "-1"], "--max-age is a number of 0 or more, such as 12 or 0.5; not -1"),
        (["run", "linen", "--unknown"], "Unknown option: --unknown."),
        (["run", "linen"], "MEMORIES_API_KEY is not set; put your key there or in .env, or try `tagtrail demo`"),
        (["demo", "linen"], "unexpected argument: linen"),
        (["top", "--limit", "0"], "--limit is 1 or more, not 0"),
        (["setup", "--work-pool", " "], "--work-pool is the name of a work pool"),
        (["up", "--receiver-port", "-1"], "--receiver-port is 1 to 65535, not -1"),
        (["receive", "--port", "65536"], "--port is 0 to 65535, not 65536"),
        (["enrich", "--nope"], "Unknown option: --nope."),
        (["enrich"], "give at least one post URL"),
        (["enrich", "https://instagram.com.evil.example/p/DNb_x1/"], "evil.example"),
        (["enrich", "--file", "missing.txt"], "missing.txt cannot be read: No such file or directory"),
        (["export", "everything"], 'Invalid value "everything"'),
        (["export", "posts", "--since", "yesterday"], "--since"),
        (["export", "posts", "--output", "x.ods"], "csv, jsonl, parquet or xlsx"),
    ],
)
def test_wrong_usage_is_one_sentence_and_2(
    arguments: list[str], said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert command_line.call(arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert said in err
    assert len(err.splitlines()) == 1
    assert err.startswith("tagtrail: ")


@pytest.mark.parametrize(
    ("error", "status"), [(UsageError("wrong"), 2), (StoreError("locked"), 1), (NoCredits("none left"), 4)]
)
def test_an_error_is_its_sentence(
    error: Exception, status: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails() -> None:
        raise error

    monkeypatch.setattr(down, "get_settings", fails)
    assert command_line.call(["down"]) == status
    assert capsys.readouterr().err == f"tagtrail: {error}\n"
    assert command_line.call(["down", "--verbose"]) == status
    told = capsys.readouterr().err
    assert told.startswith("Traceback")
    assert told.endswith(f"tagtrail: {error}\n")


@pytest.mark.integration
@pytest.mark.skipif(not Path("/dev/full").is_char_device(), reason="no device here is always full")
@pytest.mark.parametrize(
    ("arguments", "unbuffered"),
    [(["--help"], ""), (["--help"], "1"), (["status", "--json"], ""), (["export", "posts"], "1")],
)
def test_standard_output_without_room_is_a_fault_in_one_sentence(
    arguments: list[str], unbuffered: str, home_store: Store
) -> None:
    with Path("/dev/full").open("wb") as full:
        done = subprocess.run(
            [sys.executable, "-m", "deployments.cli.main", *arguments],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            env=os.environ | {"PYTHONUNBUFFERED": unbuffered},
        )
    assert done.returncode == 1
    said = [line for line in done.stderr.splitlines() if line.startswith("tagtrail")]
    assert said == ["tagtrail: standard output cannot be written: " + NO_ROOM]
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_a_sentence_and_1(
    number: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    told: list[OSError] = []

    def fails() -> None:
        raise told[0]

    monkeypatch.setattr(down, "get_settings", fails)
    told[:] = [OSError(number, "No space left on device", str(tmp_path / "auth"))]
    assert command_line.call(["down"]) == 1
    assert capsys.readouterr().err == f"tagtrail: {tmp_path / 'auth'} cannot be written: {NO_ROOM}\n"
    told[:] = [OSError(number, "No space left on device")]
    assert command_line.call(["down"]) == 1
    assert capsys.readouterr().err.startswith(
        "tagtrail: a file in TAGTRAIL_HOME (or in the folder for temporary files)"
    )
    told[:] = [OSError(errno.EACCES, "Permission denied")]
    with pytest.raises(PermissionError):
        command_line.call(["down"])


def test_an_interrupt_is_a_sentence_and_130(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(down, "get_settings", interrupted)
    assert command_line.call(["down"]) == 130
    assert capsys.readouterr().err.startswith("tagtrail: interrupted")


@pytest.mark.integration
def test_a_fault_of_ours_is_a_sentence_too(tmp_path: Path) -> None:
    """A home that is a file is nothing that `down` foresees."""
    script = (
        "import sys; from deployments.cli import main; from deployments.cli.commands import down\n"
        "down.get_settings = lambda: 1 / 0\n"
        "sys.argv = ['tagtrail', 'down', *sys.argv[1:]]; sys.exit(main.main())"
    )
    plain = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert plain.returncode == 1
    assert plain.stderr == (
        "tagtrail: internal error (please report it): ZeroDivisionError: division by zero; --verbose shows where\n"
    )
    loud = subprocess.run([sys.executable, "-c", script, "--verbose"], capture_output=True, text=True)
    assert loud.returncode == 1
    assert "Traceback" in loud.stderr


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert command_line.call(["--version"]) == 0
    assert capsys.readouterr().out.strip() == version("tagtrail")


@pytest.mark.integration
def test_help_names_every_command_and_imports_none() -> None:
    script = (
        "import sys; from deployments.cli import main\n"
        "assert main.call(['--help']) == 0\n"
        "heavy = {'prefect', 'sqlalchemy', 'sqlmodel', 'httpx', 'pydantic', 'asyncio'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    for name in command_line.COMMANDS:
        assert f" {name} " in done.stdout


@pytest.mark.integration
def test_a_home_without_a_database_is_looked_at_without_loading_it() -> None:
    script = (
        "import sys; from deployments.cli import main\n"
        "for words in (['status'], ['status', '--json'], ['export', 'posts']):\n"
        "    assert main.call(words) == 0\n"
        "heavy = {'prefect', 'sqlalchemy', 'sqlmodel', 'httpx'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("There is no database yet") == 3


@pytest.mark.stack
def test_no_command_needs_prefect_for_its_help() -> None:
    script = (
        "import sys; from deployments.cli import main\n"
        "for name in main.COMMANDS:\n"
        "    assert main.call([name, '--help']) == 0\n"
        "sys.exit('prefect was imported' if 'prefect' in sys.modules else 0)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    for name in command_line.COMMANDS:
        assert f"Usage: tagtrail {name} " in done.stdout


@pytest.mark.parametrize("command", [["run", "linen"], ["demo"], ["db", "upgrade"]])
def test_a_home_that_cannot_be_made_is_wrong_usage(
    command: list[str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("x")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("TAGTRAIL_HOME", str(tmp_path / "file" / "home"))
    monkeypatch.setenv("MEMORIES_API_KEY", "sk-invented")
    assert command_line.call(command) == 2
    err = capsys.readouterr().err
    assert err.startswith("tagtrail: TAGTRAIL_HOME: ")
    assert "cannot be made (Not a directory)" in err
    assert len(err.splitlines()) == 1


def test_a_key_that_cannot_be_one_is_wrong_usage(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clean_environment: Path
) -> None:
    monkeypatch.setenv("MEMORIES_API_KEY", "Bearer sk-invented")
    assert command_line.call(["run", "linen"]) == 2
    err = capsys.readouterr().err
    assert "leave that word out" in err
    assert "sk-invented" not in err
    assert not clean_environment.exists()


@pytest.mark.parametrize("name", ["MEMORIES_V1_BASE_URL", "MEMORIES_V2_BASE_URL"])
def test_a_base_url_that_cannot_be_one_is_told_before_a_server_is_started(
    name: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, clean_environment: Path
) -> None:
    monkeypatch.setenv("HOME", str(clean_environment))
    monkeypatch.setenv("MEMORIES_API_KEY", "sk-invented")
    monkeypatch.setenv(name, "http://")
    assert command_line.call(["run", "linen"]) == 2
    err = capsys.readouterr().err
    assert err.startswith(f"tagtrail: {name} has to be a plain https:// (or http://) URL")
    assert len(err.splitlines()) == 1
    assert not clean_environment.exists()


@pytest.mark.integration
@pytest.mark.parametrize("told", ["print('x')", "terminal.write_json(['x' * 200_000])",
                                  "terminal.results().print('x' * 200_000)"])  # fmt: skip
def test_a_reader_who_leaves_does_not_change_the_status(told: str) -> None:
    script = (
        "import sys; from deployments.cli import main, terminal; from deployments.cli.commands import down\n"
        "class App:\n"
        "    def __call__(self, *_, **__):\n"
        f"        sys.stdin.readline(); {told}; return 3\n"
        "main.make_app = lambda _: App()\n"
        "sys.argv = ['tagtrail', 'down']; sys.exit(main.main())"
    )
    with subprocess.Popen(
        [sys.executable, "-c", script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | {"PYTHONUNBUFFERED": ""},
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        process.stdin.write(b"go\n")
        process.stdin.close()
        err = process.stderr.read()
    assert (process.returncode, err) == (3, b"")


def test_a_misspelt_setting_is_told_and_fails_nothing(
    tagtrail: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TAGTRAIL_MAX_SPEND", "3")
    sentence = "tagtrail: TAGTRAIL_MAX_SPEND is no setting; did you mean TAGTRAIL_MAX_SPEND_USD_PER_RUN?"
    called = tagtrail("run", "linen", "--dry-run")
    assert called.status == 0
    assert called.err.splitlines().count(sentence) == 1
    assert "is no setting" not in tagtrail("run", "--help").err


def test_a_broken_env_file_is_wrong_usage(tagtrail: Callable[..., Any]) -> None:
    Path(".env").write_text("not an assignment\n" * 100, encoding="utf-8")
    called = tagtrail("status")
    assert called.status == 2
    (sentence,) = called.err.splitlines()
    assert sentence.startswith(f"tagtrail: {Path('.env').absolute()}, line 1: this cannot be read")

"""A container's first process: puts secrets from files into the environment, and becomes the command.

Neither Prefect nor Tagtrail reads a secret from a file. In any variable `<secret:NAME>` stands for the content of
`/run/secrets/NAME`; within a URL it is percent-encoded. So a compose file holds names of secrets and no secret.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from urllib.parse import quote

SECRETS = Path("/run/secrets")

_PLACE = re.compile(r"<secret:([a-z0-9_]+)>")


class NoSecret(Exception):
    """A secret that is asked for has no file, or an empty one; the message says what to do."""


def filled_in(environ: Mapping[str, str], folder: Path = SECRETS) -> dict[str, str]:
    """The environment with every `<secret:NAME>` replaced.

    Raises:
        NoSecret: a secret has no file, one that cannot be read, or an empty one.
    """

    def fill(value: str) -> str:
        is_url = "://" in value
        return _PLACE.sub(lambda place: _secret(folder / place[1], quoted=is_url), value)

    return {name: fill(value) for name, value in environ.items()}


def _secret(file: Path, *, quoted: bool) -> str:
    try:
        content = file.read_text(encoding="utf-8").strip()
    except OSError as error:
        raise NoSecret(
            f"the secret {file.name} cannot be read at {file} ({error.strerror}); put it into secrets/{file.name} "
            "beside compose.yaml, readable for everybody, in a folder that only you may enter"
        ) from None
    if not content:
        raise NoSecret(f"the secret {file.name} is empty; write it into secrets/{file.name} beside compose.yaml")
    return quote(content, safe="") if quoted else content


def main(command: Sequence[str]) -> int:
    """Become `command`; 2 where it cannot be, with one sentence on standard error."""
    if not command:
        print("name a command, such as: tagtrail doctor", file=sys.stderr)  # noqa: T201
        return 2
    try:
        environ = filled_in(os.environ)
        os.execvpe(command[0], list(command), environ)  # noqa: S606
    except NoSecret as error:
        print(error, file=sys.stderr)  # noqa: T201
    except OSError as error:
        print(f"{command[0]} cannot be run: {error.strerror}", file=sys.stderr)  # noqa: T201
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""Comparisons of a folder: pages of finished ones, served read-only, and those that go on."""

from __future__ import annotations

import hmac
import re
import secrets
from collections.abc import Collection, Sequence
from pathlib import Path

from aiohttp import web

from ebm_policy_ros.trials.plan import COMPARISON, NamedFile, read_comparison
from ebm_policy_ros.util.digest import sha256_of

PREFIX = "judged_"
"""Beginning of the names of the comparisons' folders."""
_PAGE = "index.html"  # as judge_policy names it
_FOLDER = re.compile(rf"{PREFIX}[\d_-]+", re.ASCII)
_FILE = re.compile(rf"{re.escape(_PAGE)}|videos/trial_\d+\.mp4", re.ASCII)
_SHOWN = 10
# The page has its style within itself, and films.
_POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)


class Comparisons:
    """Comparisons in a folder.

    The addresses of their pages have a part that is drawn by chance at each start and told to the
    operator's pages alone, over their connection, which needs the token.
    """

    def __init__(self, folder: Path) -> None:
        """Look for comparisons.

        Args:
            folder: Folder with a folder for each of them.
        """
        self._folder, self._key = folder, secrets.token_urlsafe(16)
        self.look()

    def look(self) -> None:
        """Look for new comparisons."""
        found = (path.parent.name for path in self._folder.glob(f"{PREFIX}*/{_PAGE}"))
        self._names = sorted(filter(_FOLDER.fullmatch, found), reverse=True)[:_SHOWN]

    def is_finished(self, out: Path) -> bool:
        """Return True if a comparison has its page."""
        return (out / _PAGE).exists()

    def unfinished(
        self, files: Collection[Path], starts: Sequence[Path]
    ) -> tuple[Path, list[Path]] | None:
        """Newest comparison on an arm that goes on: its folder, and the files in its order.

        Args:
            files: Policy files.
            starts: Pictures of the starts, in the order of their names.
        """
        named = {_named(file): file for file in files}
        wanted = tuple(map(_named, starts))
        for path in sorted(self._folder.glob(f"{PREFIX}*/{COMPARISON}"), reverse=True):
            out = path.parent
            try:
                noted = read_comparison(out)
            except ValueError:
                continue
            is_same = {*noted.policies} == named.keys() and noted.starts == wanted
            if is_same and "task" not in noted.setting and not self.is_finished(out):
                return out, [named[policy] for policy in noted.policies]
        return None

    def state(self) -> list[dict[str, str]]:
        """Name and address of each comparison, the newest first, ready for JSON."""
        begin = f"comparisons/{self._key}"
        return [{"name": name, "address": f"{begin}/{name}/{_PAGE}"} for name in self._names]

    def attach(self, application: web.Application) -> None:
        """Serve the pages by a web application that guards its requests."""
        application.router.add_get("/comparisons/{key}/{name}/{file:.+}", self._serve)

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        key, name, file = (request.match_info[part] for part in ("key", "name", "file"))
        is_known = hmac.compare_digest(key.encode(), self._key.encode())
        if not (is_known and _FOLDER.fullmatch(name) and _FILE.fullmatch(file)):
            raise web.HTTPNotFound
        path = self._folder / name / file
        if not path.is_file():
            raise web.HTTPNotFound
        return web.FileResponse(path, headers={"Content-Security-Policy": _POLICY})


def _named(file: Path) -> NamedFile:
    return NamedFile(file.stem, sha256_of(file))

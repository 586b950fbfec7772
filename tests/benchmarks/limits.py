"""How many files a process may have open; a thousand streams need as many."""

from __future__ import annotations

import resource

WANTED = 4096


def allow_many_files() -> None:
    """Raise this process's soft limit as far as the hard one lets it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = WANTED if hard == resource.RLIM_INFINITY else min(WANTED, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))

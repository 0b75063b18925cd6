"""The sign of life for a service that notices when none comes: an HTTP request to an address that is a secret."""

import logging

from veza_ops.bounds import within

SECONDS = 10.0
"""How long it may take in all: names, connections, redirects, and a server that says a byte at a time."""


def beat(url: str) -> str:
    """Ask for `url`; why that wasn't taken, or nothing. No word of the address is in it, nor in any log."""
    import requests  # noqa: PLC0415 - a tenth of a second, only spent where a heartbeat is configured

    logging.getLogger("urllib3").setLevel(logging.CRITICAL + 1)  # it logs addresses

    def ask() -> int:
        with requests.Session() as session:
            if url.lower().startswith("https:"):
                del session.adapters["http://"]  # no redirect may take the secret where everybody can read it
            with session.get(url, timeout=SECONDS, stream=True) as answer:
                return answer.status_code

    try:
        status = within(SECONDS, ask)
    except Exception as error:  # noqa: BLE001 - a mere sign of life ends no run, and the error's text holds the address
        return type(error).__name__
    return "" if 200 <= status < 300 else f"HTTP {status}"  # noqa: PLR2004 - the range of success

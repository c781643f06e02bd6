"""`python -m milepost_api`, and what `milepost api` starts."""

import argparse
import sys

from milepost.errors import MilepostError
from milepost.runtime.lifecycle import Shutdown, run
from milepost.runtime.logs import get_logger, set_up_logs
from milepost.runtime.settings import Settings
from milepost.runtime.tracing import set_up_tracing, shut_down_tracing
from milepost_api.app import create_app
from milepost_api.server import listen, make_server, serve

log = get_logger("milepost.api")


def main(argv: list[str] | None = None) -> int:
    """Run the service until SIGTERM or SIGINT; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="milepost api", description="Serve the HTTP API. Settings come from MILEPOST_* variables."
    )
    parser.parse_args(argv)

    async def body(shutdown: Shutdown) -> None:
        settings = Settings.load()
        set_up_logs(settings, "api")
        set_up_tracing("api")
        with listen(settings) as listener:
            host, port = listener.getsockname()[:2]
            url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            server = make_server(create_app(settings), lambda: log.info("ready", url=url))
            try:
                await serve(server, listener, shutdown)
            finally:
                shut_down_tracing()
        if not server.started:
            raise MilepostError("The api did not start; its log says why.")

    return run(body)


if __name__ == "__main__":
    sys.exit(main())

"""fsnp-serve: the HTTP and WebSocket service."""

from __future__ import annotations

import ipaddress
import logging
import os
from functools import partial
from typing import Annotated, Final

import typer

from fsnp_onnx.cli.console import VersionOption, new_app, run, say
from fsnp_onnx.runtime.cpus import available_cpus
from fsnp_onnx.serve.server import run_service
from fsnp_onnx.serve.settings import TOKEN_VARIABLE, Settings

app = new_app()

_STREAMS_PER_CPU: Final = 3
_limit = partial(typer.Option, rich_help_panel="Limits of each worker")
_DEFAULT: Final = Settings()


@app.command()
def serve(  # noqa: PLR0913 - one parameter for each option
    *,
    host: Annotated[
        str, typer.Option(help="Address to listen at. 0.0.0.0 is open to the network.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=1, max=65535)] = 8000,
    workers: Annotated[
        int, typer.Option(min=1, help="Processes that share the port and the CPUs.")
    ] = 1,
    model: Annotated[
        str, typer.Option("-m", "--model", help="default, or an exported file.")
    ] = _DEFAULT.model,
    live_model: Annotated[
        str, typer.Option(help="live, or an exported file with the interface stream.")
    ] = _DEFAULT.live_model,
    jobs: Annotated[
        int | None,
        _limit(min=1, help="Recordings at a time, on one CPU each. Default: one for each CPU."),
    ] = None,
    queue: Annotated[
        int, _limit(min=0, help="Further uploads that may wait; more get status 429.")
    ] = _DEFAULT.queue,
    streams: Annotated[
        int | None,
        _limit(min=0, help=f"WebSocket streams. Default: {_STREAMS_PER_CPU} for each CPU."),
    ] = None,
    max_mb: Annotated[float, _limit(min=0.001, help="Largest upload in MB.")] = _DEFAULT.max_mb,
    max_seconds: Annotated[
        float, _limit(min=0.1, help="Longest recording in seconds.")
    ] = _DEFAULT.max_seconds,
    transfer_timeout: Annotated[
        float, _limit(min=0.1, help="Seconds for an upload, and for its answer.")
    ] = _DEFAULT.transfer_s,
    idle_timeout: Annotated[
        float, _limit(min=0.1, help="Seconds without a byte that end a connection.")
    ] = _DEFAULT.idle_s,
    version: VersionOption = False,  # noqa: ARG001 - its callback ends the command
) -> None:
    """Enhance what is posted to /v1/enhance and streamed to /v1/stream.

    With the environment variable FSNP_SERVE_TOKEN set, both need it as a bearer token.
    """
    cpus = max(1, available_cpus()[0] // workers)
    settings = Settings(
        model=model,
        live_model=live_model,
        jobs=jobs or cpus,
        queue=queue,
        streams=_STREAMS_PER_CPU * cpus if streams is None else streams,
        max_mb=max_mb,
        max_seconds=max_seconds,
        transfer_s=transfer_timeout,
        idle_s=idle_timeout,
    )
    if not (_is_loopback(host) or os.environ.get(TOKEN_VARIABLE)):
        say(f"warning: {host} is open to others; set {TOKEN_VARIABLE} to ask for a token")
    logging.captureWarnings(capture=True)
    say(f"fsnp-serve begins to listen at http://{host}:{port}; Ctrl-C ends it")
    try:
        run_service(settings, host, port, workers)
    except SystemExit as end:
        stopped = end.code in (130, 143)  # by a signal, after all that had begun was finished
        raise typer.Exit(0 if stopped else 1) from end


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


main = partial(run, app)

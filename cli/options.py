"""Options that several verbs share."""

from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")]
Threads = Annotated[int, typer.Option(help="ONNX Runtime threads at which latency is measured.")]
Supernet = Annotated[str, typer.Option(
    help="A name (see `nas list supernets`), module:factory, or a folder that `nas train` made.")]

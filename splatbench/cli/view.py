"""`splatbench view`: an encoded file in the browser."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def view(
    file: Annotated[
        Path,
        typer.Argument(
            metavar="FILE", help="An .s2d file, or a picture (PNG, JPEG, WebP, AVIF, JPEG XL).", show_default=False
        ),
    ],
    original: Annotated[
        Path | None,
        typer.Option("--original", help="The picture that was encoded: adds its errors, PSNR and MS-SSIM."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", help="Page to write (default: in a temporary folder).")] = None,
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in the browser.")] = True,
) -> None:
    """Shows a file in the browser, which draws its Gaussians at any zoom; one page that needs nothing else.

    Pictures of other codecs are shown as pixels, and measured against --original likewise.

    Example: splatbench view photo.s2d --original photo.png
    """
    import tempfile
    import webbrowser

    from splatbench.files import write_atomic
    from splatbench.site.links import slug
    from splatbench.site.view import view_page

    if out is not None and out.suffix.lower() not in (".html", ".htm"):
        raise typer.BadParameter(f"--out {out}: the page is an HTML file; give a name that ends in .html")
    page = view_page(file, original)
    path = out or Path(tempfile.mkdtemp(prefix="splatbench-")) / f"{slug(file.stem)}.html"
    write_atomic(path, page.encode())
    typer.echo(f"{path}: {len(page.encode()):,} bytes")
    if open_browser and not webbrowser.open(path.resolve().as_uri()):
        typer.echo("no browser was found; open the page yourself")

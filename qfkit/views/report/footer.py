"""What made a page, without a word about the machine or its user."""

import platform

__all__ = ["footer"]


def footer() -> str:
    """What made the page."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        own = version("qfkit")
    except PackageNotFoundError:
        own = "(not installed)"
    return f"Made with qfkit {own} on Python {platform.python_version()}, numpy {version('numpy')}, pandas {version('pandas')}."

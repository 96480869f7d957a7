"""Cross-modal embeddings for video and audio retrieval (Surís et al., 2018)."""


def __getattr__(name: str) -> str:
    if name != "__version__":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib.metadata import version  # takes longer than all else that help needs

    return version("xmodal")

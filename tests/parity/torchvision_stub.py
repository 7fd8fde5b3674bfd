"""Lets timm be imported where torchvision is not installed.

timm imports torchvision for data loading, tracing and a frozen batch norm; its models use none of
them. torchvision itself would need another build of torch than the pinned one. What stands in for it
holds names only: calling one raises.
"""

import importlib.abc
import importlib.machinery
import sys
import types


class _Members(type):
    """For enumerations, whose members timm lists: a member is its name."""

    def __getattr__(cls, name: str) -> str:
        if name.startswith("__"):
            raise AttributeError(name)
        return name


class _Absent(metaclass=_Members):
    def __init__(self, *args: object, **kwargs: object) -> None:
        raise RuntimeError("torchvision is not installed; this part of timm needs it")


class _Names(types.ModuleType):
    __path__: list[str] = []

    def __getattr__(self, name: str) -> type:
        if name.startswith("__"):
            raise AttributeError(name)
        return _Members(name, (_Absent,), {})


class _Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    def find_spec(self, fullname, path=None, target=None):
        if fullname.partition(".")[0] != "torchvision":
            return None
        return importlib.machinery.ModuleSpec(fullname, self, is_package=True)

    def create_module(self, spec):
        return _Names(spec.name)

    def exec_module(self, module):
        pass


def import_timm() -> types.ModuleType:
    """timm, with torchvision's names standing in only while it is imported."""
    import transformers  # noqa: F401, before the names are there: it would take them for torchvision

    finder = _Finder()
    sys.meta_path.insert(0, finder)
    try:
        import timm
    finally:
        sys.meta_path.remove(finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == "torchvision"]:
            del sys.modules[name]
    return timm

"""Run the doctor without putting it on the disk, which may be full: a JSON object on stdin has the
`program`, a zip in base64, and the `question` that it is to answer.
"""

import base64
import importlib.abc
import importlib.util
import io
import json
import sys
import zipfile

given = json.load(sys.stdin)
archive = zipfile.ZipFile(io.BytesIO(base64.b64decode(given["program"])))
names = set(archive.namelist())


class Finder(importlib.abc.MetaPathFinder, importlib.abc.Loader):
    """Finds modules in the zip; those of a name have no file."""

    def find_spec(self, fullname, path=None, target=None):  # type: ignore[no-untyped-def]
        stem = fullname.replace(".", "/")
        for name in (stem + "/__init__.py", stem + ".py"):
            if name in names:
                spec = importlib.util.spec_from_loader(
                    fullname, self, origin=name, is_package=name.endswith("__init__.py")
                )
                return spec
        return None

    def exec_module(self, module):  # type: ignore[no-untyped-def]
        name = module.__spec__.origin
        module.__file__ = name
        exec(compile(archive.read(name), name, "exec"), module.__dict__)  # noqa: S102 - ours


sys.meta_path.insert(0, Finder())
importlib.import_module("homeport.doctor.__main__").answer(given["question"])

"""Compiles by copying, and refuses the paths that coremltools 9 refuses, in its words."""

import shutil

from coremltools.models import log


def compile_model(path, destination_path):
    if not path.rstrip("/").endswith((".mlpackage", ".mlmodel")):
        raise ValueError(f"Invalid model file path: '{path}'.")
    if not destination_path.rstrip("/").endswith(".mlmodelc"):
        raise Exception('"destination_path" parameter must have ".mlmodelc" file extension.')  # noqa: TRY002 as it does
    log("compile")
    return str(shutil.copytree(path, destination_path))

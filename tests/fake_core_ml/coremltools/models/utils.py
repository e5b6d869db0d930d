"""Compiles by copying."""

import shutil

from coremltools.models import log


def compile_model(path, destination_path):
    log("compile")
    return str(shutil.copytree(path, destination_path))

"""What Binder would build from this repository, without Docker: repo2docker's own reading of it."""

import json
import os
import re
import stat
import subprocess
import sys
import tomllib
import warnings
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
BINDER = ROOT / "binder"
EXTRAS = ("dask", "learning", "voila")
"""What the notebooks use beside the dependencies."""
BINDERS_OWN = {"ipykernel", "jupyter-server", "notebook"}
"""Binder brings them in older versions, which do not go with the JupyterLab of ours."""


def project() -> dict:
    return tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]


def needed() -> dict[str, Requirement]:
    own = project()
    texts = [*own["dependencies"], *(text for extra in EXTRAS for text in own["optional-dependencies"][extra])]
    return {canonicalize_name(one.name): one for one in map(Requirement, texts)}


def conda_packages() -> list:
    return yaml.safe_load((ROOT / "environment.yml").read_text())["dependencies"]


def pins() -> dict[str, str]:
    (of_pip,) = [one["pip"] for one in conda_packages() if isinstance(one, dict)]
    pinned = {}
    for text in of_pip:
        name, mark, version = text.partition("==")
        assert mark and re.fullmatch(r"[\d.]+(post\d+)?", version), f"{text} is not pinned"
        pinned[canonicalize_name(name)] = version
    assert len(pinned) == len(of_pip), "a package is named twice"
    return pinned


def test_the_environment_has_every_dependency_and_no_other():
    assert set(pins()) == set(needed()) | BINDERS_OWN


@pytest.mark.parametrize("name", sorted(needed()))
def test_each_pin_is_a_version_that_the_project_allows(name: str):
    assert needed()[name].specifier.contains(pins()[name])


def test_conda_brings_python_and_pip_alone_and_a_python_that_the_project_has():
    plain = [one for one in conda_packages() if isinstance(one, str)]
    assert [one.partition("=")[0] for one in plain] == ["python", "pip"]
    version = plain[0].partition("=")[2]
    assert f"Programming Language :: Python :: {version}" in project()["classifiers"]
    assert yaml.safe_load((ROOT / "environment.yml").read_text())["channels"] == ["conda-forge"]


def test_the_folder_of_binder_has_the_same_environment():
    # It hides the files of the root from Binder.
    assert (BINDER / "environment.yml").resolve() == ROOT / "environment.yml"
    assert sorted(path.name for path in BINDER.iterdir()) == ["environment.yml", "postBuild"]


def test_repo2docker_builds_with_conda_from_these_files(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(ROOT)
    with warnings.catch_warnings():
        # It imports a module of python-json-logger by its old name.
        warnings.simplefilter("ignore", DeprecationWarning)
        from repo2docker.buildpacks import CondaBuildPack
    pack = CondaBuildPack("docker.io/library/buildpack-deps:24.04")
    pack.platform = "linux/amd64"
    assert pack.detect()
    assert pack.python_version == "3.12"
    # One environment for JupyterLab and the kernel, or the pins of JupyterLab would not count.
    assert not pack.separate_kernel_env
    dockerfile = pack.render()
    copied = re.search(r"^COPY .*binder/environment.yml .*", dockerfile, re.MULTILINE)
    installed = re.search(r"env update .*binder/environment\.yml", dockerfile)
    made = re.search(r"^RUN \./binder/postBuild$", dockerfile, re.MULTILINE)
    whole = re.search(r"^COPY .*src/ \$\{REPO_DIR\}/$", dockerfile, re.MULTILINE)
    assert copied and installed and whole and made
    # What is installed by pip needs only the one file; postBuild needs the whole.
    assert copied.start() < installed.start() < whole.start() < made.start()


def test_the_script_after_the_build_does_what_it_says(tmp_path: Path):
    script = BINDER / "postBuild"
    assert script.stat().st_mode & stat.S_IXUSR
    tools, log, prefix = tmp_path / "tools", tmp_path / "log", tmp_path / "prefix"
    tools.mkdir()
    # Programs that tell what they are asked for; the prefix is the one thing that python answers.
    (tools / "python").write_text(f'#!/bin/bash\n[ "$1" = -c ] && echo "{prefix}" || echo "python $*" >> "{log}"\n')
    (tools / "jupyter").write_text(f'#!/bin/bash\necho "jupyter $*" >> "{log}"\n')
    for tool in tools.iterdir():
        tool.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tools}:{os.environ['PATH']}"}
    subprocess.run([script], cwd=ROOT, env=environment, check=True, timeout=30)
    installed, trusted = log.read_text().splitlines()
    assert installed == "python -m pip install --no-cache-dir --no-deps -e ."
    assert "notebooks/01_quick_start.ipynb" in trusted.split()
    (settings,) = prefix.rglob("overrides.json")
    assert settings.relative_to(prefix) == Path("share/jupyter/lab/settings/overrides.json")
    assert json.loads(settings.read_text())["@jupyterlab/apputils-extension:notification"]["fetchNews"] == "false"


def test_voila_is_a_part_of_the_server_once_it_is_installed():
    listed = subprocess.run(
        [sys.executable, "-m", "jupyter", "server", "extension", "list"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert re.search(r"voila\.server_extension.* enabled", re.sub(r"\x1b\[\d+m", "", listed.stdout + listed.stderr))


def test_what_the_readme_links_to_is_there():
    links = re.findall(
        r"https://mybinder\.org/v2/gh/qfkit/qfkit/main\?urlpath=([^)\s]+)", (ROOT / "README.md").read_text()
    )
    paths = [unquote(link) for link in links]
    assert "lab/tree/notebooks/01_quick_start.ipynb" in paths
    places = [re.sub(r"^(lab/tree|voila/render)/", "", path) for path in paths]
    assert all((ROOT / place).is_file() for place in places)

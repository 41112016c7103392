"""Templates are compiled once and kept, and never shown as they were before a change."""

import os
import subprocess
import sys
from pathlib import Path

import jinja2
import pytest

from engine.web.page_templates import ENGINE, templates


def said(folder: Path, name: str = "page.html") -> str:
    return templates(folder).get_template(name).render(who="<Asha>")


def kept(folder: Path) -> list[Path]:
    return sorted((folder / "__pycache__").iterdir()) if (folder / "__pycache__").is_dir() else []


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(sys, "dont_write_bytecode", False)
    (tmp_path / "page.html").write_text("Good day, {{ who }}", encoding="utf-8")
    return tmp_path


def test_a_template_is_compiled_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert said(folder) == "Good day, &lt;Asha&gt;"
    (file,) = kept(folder)
    before = file.read_bytes()

    def compiles(*_: object, **__: object) -> None:
        raise AssertionError("compiled again")

    monkeypatch.setattr(jinja2.Environment, "compile", compiles)
    assert said(folder) == "Good day, &lt;Asha&gt;"
    assert kept(folder) == [file]
    assert file.read_bytes() == before


def test_a_template_that_changed_is_compiled_anew(folder: Path) -> None:
    said(folder)
    (folder / "page.html").write_text("Good night, {{ who }}", encoding="utf-8")
    assert said(folder) == "Good night, &lt;Asha&gt;"
    assert said(folder) == "Good night, &lt;Asha&gt;"
    assert len(kept(folder)) == 1


@pytest.mark.parametrize("damage", ["", "j2", "noise", None])
def test_a_kept_file_that_is_cut_off_is_made_anew(folder: Path, damage: str | None) -> None:
    said(folder)
    (file,) = kept(folder)
    whole = file.read_bytes()
    file.write_bytes({None: whole[:-20], "noise": whole[:10] + bytes(90)}.get(damage, (damage or "").encode()))
    assert said(folder) == "Good day, &lt;Asha&gt;"
    assert file.read_bytes() == whole


def test_nothing_is_kept_where_python_keeps_no_module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    assert said(folder) == "Good day, &lt;Asha&gt;"
    assert not kept(folder)


def test_a_template_is_shown_where_nothing_can_be_kept(folder: Path) -> None:
    (folder / "__pycache__").write_text("in the way", encoding="utf-8")
    assert said(folder) == "Good day, &lt;Asha&gt;"


def test_a_text_is_not_escaped_and_a_missing_value_is_an_error(folder: Path) -> None:
    (folder / "sheet.txt").write_text("{{ who }}\n", encoding="utf-8")
    assert said(folder, "sheet.txt") == "<Asha>\n"
    (folder / "page.html").write_text("{{ whose }}", encoding="utf-8")
    with pytest.raises(jinja2.UndefinedError):
        said(folder)


def test_the_installer_compiles_every_template() -> None:
    """As it runs it; afterwards none is left without its file."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    subprocess.run([sys.executable, "-I", "-m", "engine.web.page_templates"], env=environment, check=True)
    pages = [*ENGINE.rglob("*.html")]
    assert len(pages) > 90
    for page in pages:
        assert [*(page.parent / "__pycache__").glob(f"{page.name}.*.jinja-*")], page


def test_a_key_of_a_row_is_read_before_a_method_of_the_same_name(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(
        "{{ who.items }} {{ who.name }} {% for key, of in who.more.items() %}{{ key }}{{ of }}{% endfor %}",
        encoding="utf-8",
    )
    shown = templates(tmp_path).get_template("page.html").render(who={"items": 3, "name": "<b>", "more": {"a": 1}})
    assert shown == "3 &lt;b&gt; a1"
    with pytest.raises(jinja2.UndefinedError):
        templates(tmp_path).get_template("page.html").render(who={"items": 3, "more": {}})


MACROS = """\
{%- macro cell(words, kind="") -%}<td{% if kind %} class="{{ kind }}"{% endif %}>{{ words }}{{ caller() if caller is defined }}</td>{%- endmacro -%}
{%- macro loose() -%}{{ varargs | join(",") }}{{ kwargs | xmlattr }}{%- endmacro -%}
{% for n in of %}{% call cell(n, kind="<a>") %}{{ loop.index }}<i>{% endcall %}{{ loose(n, "<", b=n) }}{% endfor %}
{%- block more %}{{ cell("&") }}{% endblock %}"""  # noqa: E501


def test_macros_say_the_same_as_the_library_has_them_say(tmp_path: Path) -> None:
    (tmp_path / "page.html").write_text(MACROS, encoding="utf-8")
    plain = jinja2.Environment(
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    given = {"of": ["<x>", "y"]}
    assert templates(tmp_path).get_template("page.html").render(given) == plain.from_string(MACROS).render(given)

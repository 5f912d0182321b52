"""`medistill init`: four questions, and a recipe with comments."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeVar

import typer

from medistill_cli import options
from medistill_cli.corpus import ADDRESS
from medistill_cli.results import print_facts, print_json, print_next, print_written
from medistill_cli.terminal import write_error

if TYPE_CHECKING:
    from medistill.workflow.first_recipe import Bound

Answer = TypeVar("Answer")
ALL = "all"
IPC = 10
EPSILON = 8.0


def init(
    data: Annotated[
        Path | None,
        typer.Option(
            "--data",
            metavar="FOLDER|URL",
            help="Question 1: the folder of images, or dicomweb+https://..., a PACS. No file is opened, and the recipe "
            "does not name it.",
            show_default=False,
        ),
    ] = None,
    labels: options.Labels = None,
    classes: Annotated[
        str | None,
        typer.Option(
            "--classes",
            metavar="all|A,B",
            help="Question 2: the classes to take, in this order, separated by commas; or all.",
            show_default=False,
        ),
    ] = None,
    ipc: Annotated[
        int | None,
        typer.Option(
            "--ipc", metavar="N", min=1, help="Question 3: distilled images of each class.", show_default=False
        ),
    ] = None,
    privacy: Annotated[
        Literal["none", "dp"] | None,
        typer.Option(
            "--privacy",
            help="Question 4: with differential privacy or without. dp bounds what can be learned about a patient, at "
            "a high price in accuracy.",
            show_default=False,
        ),
    ] = None,
    dp_epsilon: Annotated[
        float | None,
        typer.Option("--dp-epsilon", metavar="E", help="Budget of the run, with dp.", show_default=f"{EPSILON:g}"),
    ] = None,
    dp_units: Annotated[
        int | None,
        typer.Option(
            "--dp-units",
            metavar="N",
            min=1,
            help="With dp: about how many training patients there are, as a public and rounded number that was not "
            "counted on them.",
            show_default=False,
        ),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(
            "--recipe",
            metavar="NAME|FILE",
            help="The recipe to begin with. Left out: covid-xray-dp with dp; else covid-xray where there is a GPU and "
            "covid-xray-cpu elsewhere.",
            show_default=False,
        ),
    ] = None,
    settings: options.Settings = None,
    out: Annotated[Path, typer.Option("--out", metavar="FILE", help="New file for the recipe.")] = Path("recipe.toml"),
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Ask four questions and write a recipe with comments.

    Where are the images, which classes, how many distilled images of each, and with differential privacy or without.
    What is given as an option is not asked; where the input is no terminal, all of it must be given.

    \b
    Examples:
      medistill init
      medistill init --data xray/ --classes all --ipc 10 --privacy none --out chest.toml
      medistill init --data xray/ --labels table.csv --classes COVID,Normal --ipc 10 --privacy dp --dp-units 1000
    """
    from medistill.artifacts.new_folder import refuse_taken_file

    refuse_taken_file(out)
    if privacy is None and (dp_epsilon is not None or dp_units is not None):
        privacy = "dp"
    _refuse_unasked(data, classes, ipc, privacy, dp_epsilon, dp_units)
    from medistill.workflow.first_recipe import first_recipe, refuse_absent, write_first_recipe

    if data is None:
        data = _ask("1. Where are the images? A folder, or dicomweb+https://... for a PACS", _place)
        if labels is None:
            table = _ask("   A table of labels? Its path; nothing where folders say the class", _table, default="")
            labels = Path(table) if table else None
    found = _found(data, labels)

    def chosen(text: str) -> list[str]:
        names = [] if text.strip() == ALL else [name.strip() for name in text.split(",") if name.strip()]
        refuse_absent(names, found)
        return names

    named = chosen(classes) if classes is not None else _ask("2. Which classes? all, or A,B", chosen, default=ALL)
    if ipc is None:
        ipc = _ask("3. How many distilled images of each class?", _number, default=str(IPC))
    if privacy is None:
        told = "4. Must somebody be given a formal bound (dp), at a high price in accuracy? none or dp"
        privacy = _ask(told, _privacy, default="none")
    bound = _bound(privacy or "none", dp_epsilon, dp_units)
    if bound is not None and not named and sys.stdin.isatty():
        named = _ask("   With dp the classes must be named, and public: A,B", chosen)
    base = recipe or _base(bound)
    made, said = first_recipe(base, classes=named, ipc=ipc, bound=bound, found=found, settings=settings or ())
    write_first_recipe(made, out)
    if json:
        print_json({"recipe": str(out), "begun_with": base, "digest": made.digest, "note": said})
        return
    print_facts([("Begun with", base), *([("Note", said)] if said else [])])
    print_written({"recipe": out})
    given = ["--recipe", str(out), "--data", str(data), *(["--labels", str(labels)] if labels else [])]
    print_next(
        [
            (["medistill", "prepare", *given], "read the images, and see what is refused"),
            (["medistill", "distill", *given], "the whole chain"),
        ]
    )


def _refuse_unasked(
    data: Path | None,
    classes: str | None,
    ipc: int | None,
    privacy: str | None,
    epsilon: float | None,
    units: int | None,
) -> None:
    """Refuse to guess where there is nobody to ask."""
    from medistill.errors import UsageError

    given = {"--data": data, "--classes": classes, "--ipc": ipc, "--privacy": privacy}
    missing = [option for option, value in given.items() if value is None]
    missing += ["--dp-units"] if privacy == "dp" and units is None else []
    if missing and not sys.stdin.isatty():
        raise UsageError(
            f"{', '.join(missing)} {'was' if len(missing) == 1 else 'were'} not given, and there is nobody to ask, "
            "since the input is no terminal",
            expected="all answers as options, or a person at a terminal",
            do="add what is missing, as in medistill init --data xray/ --classes all --ipc 10 --privacy none",
        )
    if privacy == "none" and (units is not None or epsilon is not None):
        raise UsageError(
            "--privacy none and --dp-epsilon or --dp-units were given",
            expected="one or the other",
            do="take --privacy dp, or leave the others out",
        )


def _ask(question: str, read: Callable[[str], Answer], *, default: str | None = None) -> Answer:
    """Ask at the terminal, on stderr, until the answer can be used."""
    from medistill.errors import MedistillError

    while True:
        try:
            answer: str = typer.prompt(question, default=default, show_default=bool(default), err=True)
        except typer.Abort:
            raise KeyboardInterrupt from None
        try:
            return read(answer.strip())
        except MedistillError as error:
            write_error(str(error))
        except ValueError:
            write_error(f"'{answer}' is no answer to that.")


def _place(text: str) -> Path:
    from medistill.data.listing import files_of

    place = Path(text).expanduser()
    if not ADDRESS.fullmatch(str(place)):
        files_of(place)
    return place


def _table(text: str) -> str:
    from medistill.errors import UsageError

    if text and not Path(text).expanduser().is_file():
        raise UsageError(f"there is no file '{text}'", expected="a table, or nothing", do="check its path")
    return text and str(Path(text).expanduser())


def _number(text: str) -> int:
    if int(text) < 1:
        raise ValueError(text)
    return int(text)


def _privacy(text: str) -> Literal["none", "dp"]:
    if text == "dp":
        return "dp"
    if text != "none":
        raise ValueError(text)
    return "none"


def _bound(privacy: str, epsilon: float | None, units: int | None) -> Bound | None:
    """The bound that was asked for; what is missing of it is asked."""
    from medistill.workflow.first_recipe import Bound

    if privacy == "none":
        return None
    if units is None:
        if epsilon is None:
            epsilon = _ask("   Its budget, epsilon: smaller bounds more", float, default=f"{EPSILON:g}")
        told = "   About how many training patients? A public, rounded number, not counted on them"
        units = _ask(told, _number)
    return Bound(EPSILON if epsilon is None else epsilon, units)


def _found(data: Path, labels: Path | None) -> dict[str, int]:
    """What there is of each class, told on stderr; where that cannot be said, why."""
    from medistill.errors import DataError
    from medistill.workflow.first_recipe import training_files

    if ADDRESS.fullmatch(str(data)):
        return {}
    try:
        found = training_files(data, labels)
    except DataError as error:
        write_error(f"Classes are not known yet: {error}")
        return {}
    write_error(f"Files for training: {', '.join(f'{count} {name}' for name, count in found.items()) or 'none'}.")
    return found


def _base(bound: Bound | None) -> str:
    from medistill.training.device import choose_device
    from medistill.workflow.first_recipe import PRIVATE

    if bound is not None:
        return PRIVATE
    return "covid-xray" if choose_device("auto").type == "cuda" else "covid-xray-cpu"

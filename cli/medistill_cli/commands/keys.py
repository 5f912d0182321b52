"""`medistill keys`: the keys that bundles are signed with, and those of senders whom you trust."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from medistill_cli import options
from medistill_cli.clock import today
from medistill_cli.guard import guarded
from medistill_cli.passphrase import VARIABLE, ask_passphrase
from medistill_cli.results import print_facts, print_json, print_next, print_written
from medistill_cli.terminal import out_console, write

if TYPE_CHECKING:
    from medistill.sharing.public_key import PublicKey

Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of a key.")]

keys = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Make and list the keys that bundles are signed with.\n\n"
    "\b\nExamples:\n  medistill keys new st-example\n  medistill keys export st-example\n"
    "  medistill keys trust ward-7.key.json --as ward-7",
)


@keys.command("new")
@guarded
def new(
    name: Annotated[
        str,
        typer.Argument(metavar="NAME", help="That of a house or a study, not of a person: it goes out with bundles."),
    ],
    passphrase: Annotated[
        bool,
        typer.Option(
            "--passphrase",
            help=f"Ask for a passphrase, which the key then needs. {VARIABLE} in the environment is taken for it.",
        ),
    ] = False,
    valid_days: Annotated[
        int | None,
        typer.Option("--valid-days", metavar="N", help="Days on which it is good. Left out: no end.", min=1),
    ] = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Make a pair of Ed25519 keys. No key is ever written over.

    \b
    Examples:
      medistill keys new st-example
      medistill keys new st-example --passphrase --valid-days 730
    """
    from medistill.errors import UsageError
    from medistill.sharing.keys import keys_root, new_key

    secret = ask_passphrase(name, twice=True) if passphrase or os.environ.get(VARIABLE) else None
    if passphrase and not secret:
        raise UsageError(
            "there is nobody to ask for a passphrase, since the input is no terminal",
            expected=f"a person at a terminal, or {VARIABLE}",
            do=f"set {VARIABLE}, or leave out --passphrase",
        )
    key = new_key(keys_root(), name, passphrase=secret, valid_days=valid_days, today=today())
    if json:
        print_json(_plain(key))
        return
    _print(key, ("Passphrase", "yes" if secret else "none; whoever gets the file can sign in your name"))
    print_next([(["medistill", "keys", "export", name], "the public half, for those who receive bundles")])


@keys.command("list")
@guarded
def list_keys(json: options.AsJson = False, debug: options.Debug = False) -> None:
    """List your keys and those that you trust.

    \b
    Examples:
      medistill keys list
      medistill keys list --json
    """
    from medistill.sharing.keys import is_locked, keys_root, known_keys

    root, day = keys_root(), today()
    found = known_keys(root)
    if json:
        told = [{**_plain(one.key), "whose": one.whose, "expired": one.key.expired(day)} for one in found]
        print_json({"folder": str(root), "keys": told})
        return
    if not found:
        write(f"There are no keys in {root}.")
        print_next([(["medistill", "keys", "new", "NAME"], "make one")])
        return
    from rich.table import Table

    table = Table()
    for heading in ("Name", "Whose", "Fingerprint", "Made", "Good until", "Passphrase"):
        table.add_column(heading, no_wrap=heading in ("Name", "Fingerprint"))
    for one in found:
        key = one.key
        locked = "" if one.whose == "trusted" else "yes" if is_locked(root, key.name) else "no"
        last = "no end" if key.expires is None else str(key.expires)
        last += " (expired)" if key.expired(day) else ""
        whose = "own" if one.whose == "own" else f"trusted; calls itself {key.given_name}"
        table.add_row(key.name, whose, key.fingerprint, key.created, last, locked)
    out_console().print(table)


@keys.command("export")
@guarded
def export(
    name: Name,
    out: Annotated[
        Path | None,
        typer.Option("--out", metavar="FILE", help="Left out: NAME.key.json here.", show_default=False),
    ] = None,
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Write the public half of one of your keys to a file that you can send.

    \b
    Examples:
      medistill keys export st-example
      medistill keys export st-example --out for-ward-7.key.json
    """
    from medistill.sharing.keys import export_key, keys_root

    path = out or Path(f"{name}.key.json")
    key = export_key(keys_root(), name, path)
    if json:
        print_json({"out": str(path), **_plain(key)})
        return
    _print(key)
    print_written({"public key": path})
    write("\nSend the file, and tell the fingerprint by another way, such as the telephone.")


@keys.command("trust")
@guarded
def trust(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Public key that a sender exported.")],
    name: Annotated[str, typer.Option("--as", metavar="NAME", help="What to call it here.")],
    json: options.AsJson = False,
    debug: options.Debug = False,
) -> None:
    """Trust the signatures of a key. Compare its fingerprint with its owner first, by another way than the file came.

    \b
    Examples:
      medistill keys trust st-example.key.json --as st-example
    """
    from medistill.sharing.keys import keys_root, trust_key

    key = trust_key(keys_root(), file, name, today=today())
    if json:
        print_json(_plain(key))
        return
    _print(key)
    write(
        "\nIts signatures are trusted from now on. If its owner tells you another fingerprint: "
        f"medistill keys forget {name}"
    )


@keys.command("forget")
@guarded
def forget(name: Name, json: options.AsJson = False, debug: options.Debug = False) -> None:
    """Trust a key of others no longer.

    \b
    Examples:
      medistill keys forget ward-7
    """
    from medistill.sharing.keys import forget_key, keys_root

    key = forget_key(keys_root(), name)
    if json:
        print_json({"forgotten": _plain(key)})
        return
    write(f"The key {key.name} ({key.fingerprint}) is trusted no longer.")


def _print(key: PublicKey, *more: tuple[str, str]) -> None:
    last = "no end" if key.expires is None else str(key.expires)
    print_facts([("Key", key.name), ("Fingerprint", key.fingerprint), ("Good until", last), *more])


def _plain(key: PublicKey) -> dict[str, Any]:
    return {
        "name": key.name,
        "given_name": key.given_name,
        "fingerprint": key.fingerprint,
        "created": key.created,
        "expires": None if key.expires is None else key.expires.isoformat(),
    }

"""Signer: the key that signed a bundle, if it may be trusted here and now."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from pathlib import Path

from medistill.errors import ArtifactError, UsageError
from medistill.sharing.bundle import Bundle
from medistill.sharing.keys import find_key, keys_root, known_keys
from medistill.sharing.manifest import SIGNATURE
from medistill.sharing.public_key import PublicKey
from medistill.sharing.signature import Signature


def demanded_keys(trust: Sequence[str]) -> tuple[PublicKey, ...]:
    """The known keys of those names, or the keys in those files.

    Raises:
        UsageError: one is neither.
    """
    return tuple(map(_demanded, trust))


def trusted_signer(name: str | Path, bundle: Bundle, demanded: Sequence[PublicKey], today: date) -> PublicKey | None:
    """The key that signed a bundle; None where nobody did and no key is demanded.

    Args:
        name: what the bundle is called in messages.
        demanded: keys of which one must have signed it; none where any known key will do.
        today: the day on which the key must still be good.

    Raises:
        ArtifactError: not signed, or by another key, where one is demanded; or by one that is unknown or has expired.
    """
    signed = bundle.files.get(SIGNATURE)
    wanted = " or ".join(f"{key.name!r}, {key.fingerprint}" for key in demanded)
    if signed is None:
        if not demanded:
            return None
        raise ArtifactError(
            f"{name} is not signed, and --trust was given",
            expected=f"a signature by the key {wanted}",
            do="ask the sender to share it with --sign",
        )
    signature = Signature.from_bytes(signed)
    known = demanded or [one.key for one in known_keys(keys_root())]
    key = next((one for one in known if one.raw == signature.public_key), None)
    if key is None and demanded:
        raise ArtifactError(
            f"{name} is signed by the key {signature.fingerprint}, which calls itself {signature.key_name!r}",
            expected=f"a signature by the key {wanted}",
            do="ask the sender which key signed it, by another way than the bundle came",
        )
    if key is None:
        raise ArtifactError(
            f"{name} is whole, but signed by a key that is not known here: {signature.fingerprint}, which calls "
            f"itself {signature.key_name!r}",
            expected="the key of a sender whom you trust",
            do="ask the sender for the file of the key, compare the fingerprint by another way, such as the "
            "telephone, then `medistill keys trust FILE --as NAME`",
        )
    if key.expired(today):
        raise ArtifactError(
            f"{name} is signed by the key {key.name!r}, which expired on {key.expires}",
            expected="a key that is still good",
            do="ask the sender for the bundle signed anew, and for the new key",
        )
    return key


def _demanded(trust: str) -> PublicKey:
    try:
        return find_key(keys_root(), trust)
    except UsageError:
        if not Path(trust).is_file():
            raise
        return PublicKey.of_file(Path(trust))

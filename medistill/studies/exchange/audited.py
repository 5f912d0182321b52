"""Audited: what an audit says of the set of each site, before anybody would send it."""

from __future__ import annotations

from dataclasses import dataclass, replace

from medistill.artifacts.distilled_set import DistilledSet
from medistill.artifacts.kept import keep_json, read_checked_json
from medistill.errors import ArtifactError, MedistillError, RankError, SaidElsewhere
from medistill.networks.own import NetworkFactory
from medistill.privacy.attack_registry import all_attacks
from medistill.privacy.audit import Audit, load_audit
from medistill.report.audit_statements import standing
from medistill.report.studied_site import SetAudit
from medistill.studies.audit.audit import audit
from medistill.studies.exchange.sites import ExchangeSite
from medistill.training.context import Context

ASKED = "asked.json"
"""Beside an audit: what it asked."""
ASKING = 2
"""Raised when audits of sites come to ask about other people; at first strangers were patients of other sites too."""


@dataclass(frozen=True)
class Auditor:
    """Audits sets of sites, each on the patients of its site alone.

    Attributes:
        context: of the study; the folders of the sites lie in its own.
        network: a network of the user's own.
        built_in: the corpus is the one that medistill draws.
    """

    context: Context
    network: NetworkFactory | None
    built_in: bool

    def of(self, site: ExchangeSite, distilled: DistilledSet) -> SetAudit:
        """Return what an audit finds; an earlier one of the same set under the same thresholds is taken as it is.

        The site's test patients are held out beside those of its validation split.
        """
        context = self.context
        if context.recipe.exchange.audit == "off":
            return SetAudit("not audited", (), (), "exchange.audit = off")
        run = context.out / site.folder
        found = self._kept(site, distilled)
        try:
            if found is None:
                (run / "audit" / "audit.json").unlink(missing_ok=True)  # it asked otherwise, and is made again
                found = audit(
                    distilled,
                    site.share(context.corpus, tested=True),
                    without_exchange(context).recipe,
                    out=run / "audit",
                    run=run,
                    quick=context.recipe.exchange.audit != "full",
                    built_in=self.built_in,
                    network=self.network,
                    device=context.device.type,
                    command="medistill exchange-study",
                    progress=context.progress,
                )
                keep_json(run / "audit" / ASKED, _asked(), private=True)
        except (RankError, SaidElsewhere):
            raise  # it is not of this set
        except MedistillError as error:
            context.progress.say(f"The set of {site.name} could not be audited: {error.seen}.")
            return SetAudit("not audited", (), (), error.seen)
        return _told(found)

    def _kept(self, site: ExchangeSite, distilled: DistilledSet) -> Audit | None:
        folder = self.context.out / site.folder / "audit"
        if not (folder / "audit.json").is_file() or not (folder / ASKED).is_file():
            return None
        try:
            found = load_audit(folder / "audit.json")
            if read_checked_json(folder / ASKED, "what an audit asked") != _asked():
                return None
        except ArtifactError:
            return None
        whole = self.context.recipe.exchange.audit == "full"
        same = found.set_digest == distilled.digest() and found.thresholds == self.context.recipe.strictness
        return found if same and (found.trained or not whole) else None


def _asked() -> dict[str, object]:
    """What an audit asks that is made now; an earlier one that asked otherwise, or less, is made again."""
    return {"asking": ASKING, "attacks": [attack.name for attack in all_attacks()]}


def _told(found: Audit) -> SetAudit:
    return SetAudit(
        verdict=standing(found),
        failed=tuple(one.name for one in found.criteria if one.verdict == "fail"),
        open=tuple(one.name for one in found.criteria if one.verdict == "not enough evidence"),
        reason="",
        searched=tuple(dict.fromkeys(one.space for one in found.copies)),
        copies=_copies(found),
    )


def _copies(found: Audit) -> int | None:
    """Most images of the set that are copies in any space; None where none was searched."""
    counts = [one.copies for one in found.of_subject("distilled")]
    return max(counts) if counts else None


def without_exchange(context: Context) -> Context:
    """Return the context in which sets are made: what a study asks about them decides nothing of them."""
    section = type(context.recipe.exchange)()
    return replace(context, recipe=context.recipe.model_copy(update={"exchange": section}))

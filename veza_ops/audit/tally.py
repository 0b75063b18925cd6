"""What one run comes to in buckets, while it goes on and afterwards."""

from dataclasses import dataclass, field, replace

import upath

from veza_ops.audit.buckets import Part
from veza_ops.audit.rules import Incomplete, Round
from veza_ops.audit.sizes import Compared
from veza_ops.audit.unnamed import Sifted, Unnamed
from veza_ops.looks import LISTED
from veza_ops.storage.proof import Proof
from veza_ops.tracks.row import Judged


@dataclass(frozen=True)
class Bucketed:
    """What one run came to in buckets: its own counts, and where the next one goes on."""

    round: Round = field(default_factory=Round)
    unnamed: Unnamed = field(default_factory=Unnamed)
    uploads: Incomplete = field(default_factory=Incomplete)
    proof: Proof = field(default_factory=lambda: Proof(0, 0))
    missing: tuple[Judged, ...] = ()
    unverifiable: tuple[Judged, ...] = ()
    """The first of them; `LISTED` at most."""
    sizes: Compared = field(default_factory=Compared)


@dataclass
class Tally:
    """The sum of a run's parts so far."""

    round: Round = field(default_factory=Round)
    unnamed: Unnamed = field(default_factory=Unnamed)
    """Of the places that are done."""
    missing: list[Judged] = field(default_factory=list)
    unverifiable: list[Judged] = field(default_factory=list)
    place: str = ""
    here: Unnamed = field(default_factory=Unnamed)
    """Of the present place."""
    sizes: Compared = field(default_factory=Compared)
    lists: list[upath.UPath] = field(default_factory=list)
    """The files of evidence that tell of these."""

    def take(self, part: Part, unnamed: Sifted, listed: upath.UPath | None = None) -> list[upath.UPath]:
        """Add a part, with its `unnamed` files and their list; the lists that aren't to be relied on any more."""
        if part.place != self.place:
            self.unnamed, self.here, self.place, self.lists = self.unnamed + self.here, Unnamed(), part.place, []
        self.lists += [listed] if listed else []
        self.round = self.round.with_page(part.looks, "")
        self.missing += part.looks.missing[: LISTED - len(self.missing)]
        self.unverifiable += part.looks.unverifiable[: LISTED - len(self.unverifiable)]
        self.here = self.here.with_files(part.walked, unnamed, bool(part.unread))
        if not part.is_incomparable:
            return []
        self.here = Unnamed(self.here.walked, unread_folders=self.here.unread_folders)
        return self.lists

    def found(self, start: str, upto: str, uploads: Incomplete, proof: Proof) -> Bucketed:
        """The sum of a run that began after the address `start`, and ended with `upto` unless it came to the end."""
        unnamed = replace(self.unnamed + self.here, cut_short=bool(start or upto))
        so_far = replace(self.round, after_key=upto)
        return Bucketed(so_far, unnamed, uploads, proof, tuple(self.missing), tuple(self.unverifiable), self.sizes)

"""What a case consists of."""
import dataclasses
from table import TRANSFER, Layout


@dataclasses.dataclass
class Options:
    mib: int                 # size of the pair case; the others follow
    limit: float             # seconds that one run may take
    quick: bool


@dataclasses.dataclass
class Run:
    case: str                # the row group
    name: str                # the contestant, as in the table
    needs: list              # names of clients that must be there
    mib: float               # what is moved, for MB/s
    work: object             # () -> figures
    times: int = 0           # at most so many runs; 0: as many as asked for
    layout: Layout = TRANSFER

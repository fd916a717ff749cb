"""What the names of labels, segments, masks and sequences say: whether they are a lesion's, and T1 after contrast.

One table for all layouts. A name that only stands beside lesions ("peritumoral oedema", "tumour bed") is no lesion's;
one that names both a lesion and anatomy ("brain metastasis") is.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from trainers.documents import shown
from trainers.exceptions import MetsweepError

_BESIDE_LESIONS = re.compile(
    r"background|ignore|unlabel|edema|ödem|snfh|flair|hyperintens|rese[ck]t|cavit|höhle|bed\b|vessel|healthy|"
    r"\b(ed|rc|ptv|ctv|normal)\b|peri ?(tumou?r|lesion|met)|radi(o|ation) ?necro|"
    r"\b(non?|not|without) ?(tumou?r|lesion|met)"
)
_LESION = re.compile(
    r"metasta|mets?\b|lesion|l(ä|ae)sion|tumou?r|gtv|enhanc|necro|\b(et|netc|ncr|net|tc)\b|\bcore\b|cancer|neoplas"
)
_ANATOMY = re.compile(r"brain|skull|scalp|\b(gm|wm|csf|head|bone|air)\b|matter|ventric|cerebell|cortex|aseg|aparc")

NOT_T1 = re.compile(
    r"t2|flair|dark fluid|dwi|\bdiff|\badc\b|trace|dti|swi|swan|perf|\bdsc\b|\bdce\b|\basl\b|\btof\b|angio|\bmr[av]\b|"
    r"ciss|fiesta|bold|fmri|spectro|\bpd\b|ep2d"
)
"""Of `sequence_words`: another sequence."""
MADE = re.compile(r"\bsub|\bmip\b|\bmpr\b|reformat|fusion|screen|key image")
"""Of `sequence_words`: made of other series."""
BEFORE = re.compile(
    r"(\b|t1)pre\b|\bpre(gd|gad|con|km)|non ?(con|enh)|without|\bw o\b|nativ|\bno (contrast|gad|gd|km)|unenhanced|t1n\b"
)
"""Of `sequence_words`: before contrast."""
AFTER = re.compile(
    r"post|\+ ?(c|gd|gad|km|contrast)\b|\bc\+|(\b|t1)ce\b|t1c\b|(\b|t1)gd|gad|contrast|(\b|t1)km\b|enhanced"
)
"""Of `sequence_words`, if not BEFORE: after contrast."""
_NO_MR = re.compile(r"\b(ct|pet|spect|x ?ray|us|ultrasound)\b")
_BRAVO = re.compile("bravo")
"""As Stanford's set is re-released: its only T1 of a gradient echo follows contrast."""


def is_lesion(name: str) -> bool | None:
    """Whether a label is a lesion's; None if its name says nothing."""
    apart = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Za-z])(?=\d)|[\W_]+", " ", name).lower()
    if _BESIDE_LESIONS.search(apart):
        return False
    if _LESION.search(apart):
        return True
    return False if _ANATOMY.search(apart) else None


def lesion_values(where: object, names: Mapping[int, str], error: type[MetsweepError]) -> tuple[int, ...]:
    """The values that are lesion; one whose name says nothing is, if it is the only one besides those that are not.

    Args:
        where: file, for messages.
        names: value -> name; 0 does not count.
        error: what is raised.

    Raises:
        MetsweepError: of the class `error`: no value is lesion, or a name says nothing and is not the only one.
    """
    named = {value: is_lesion(name) for value, name in names.items() if value > 0}
    lesions = tuple(sorted(value for value, lesion in named.items() if lesion))
    unclear = [value for value, lesion in named.items() if lesion is None]
    if len(unclear) == 1 and not lesions:
        return (unclear[0],)
    if unclear:
        raise error(
            f"{where}: the names are {shown(dict(names))}; {shown(names[unclear[0]])} does not say whether it is a "
            "lesion; allowed: such as metastasis, tumour core, oedema, cavity, brain. Rename it."
        )
    if not lesions:
        raise error(f"{where}: none of {shown(dict(names))} is a lesion; needed: one. Rename the lesion's.")
    return lesions


def sequence_words(description: str) -> str:
    """Lower case, with spaces for what separates words; GE calls a T1 with inversion T1 FLAIR, and others write -C."""
    text = re.sub(r"(?<=\s)- ?c\b", "without", description.lower())
    return re.sub(r"[\s_.,;:()/\\-]+", " ", text).replace("t1 flair", "t1")


def is_after_contrast(name: str) -> bool | None:
    """Whether a channel is T1 after contrast; None if its name does not say."""
    words = sequence_words(name)
    if any(pattern.search(words) for pattern in (_NO_MR, NOT_T1, MADE, BEFORE)):
        return False
    return True if AFTER.search(words) or _BRAVO.search(words) else None

"""Find where sentences end in a line of raw text.

A rule-based splitter for any script, in the spirit of the prefix lists of Moses and Europarl
(Koehn 2005). It prefers a missed boundary to a wrong one. It works without a model and a tokenizer.
"""

from __future__ import annotations

import re

CLOSERS = "\"'”’“‘»«›‹)\\]}」』）】》〉〗］＂"
END = re.compile(
    rf"(?P<always>(?:[。！？｡।॥؟۔።፧։။។៕]+[{CLOSERS}]*)+)(?=\s*\S)"
    rf"|(?P<mark>[.!?…‼⁇⁈⁉]+)(?:[{CLOSERS}]+|[ \u00a0\u202f]»(?=\s))*(?=\s+\S)"
    r"|[!?]+(?=[\u3040-\u30ff\u4e00-\u9fff])"
)
"""Punctuation that may end a sentence, with the quotes and brackets behind it."""
MARK = re.compile("[.!?…‼⁇⁈⁉。！？｡।॥؟۔።፧։။៕]")
NEXT = re.compile(r"\s*[\"'“‘„«»‹›(\[{¿¡*_•\u2013\u2014-]*\s*(?P<word>\w[^\s.,;:!?)]*)(?P<dot>\.?)")
"""The first word behind a boundary."""
WORDS = re.compile(r"[^\W_]")
TOKEN = re.compile(r"[^\s()\[\]{}\"“”„«»‘’'/]+$")
DOTTED = re.compile(r"(?:[^\W\d_]{1,3}\.[\s\u00a0]?-?)*[^\W\d_]{1,12}$")
"""An abbreviation of several parts, such as "z. B" or "c.-à-d"."""
ACRONYM = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]$|Ph\.D$")
NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*$|[IVXLC]+$")
ITEM = re.compile(r"\W*(?:\d{1,3}(?:\.\d+)*|[^\W\d_]|[ivxIVX]{1,5})\W*$")
"""A number or letter that begins a list item."""
QUOTED = "とっでなはがをにのもや、，,"
"""What continues a Japanese or Chinese sentence behind a quotation."""
LOOK_BACK = 60
"""Characters before a period that can matter."""

TITLES = {
    "": "dr prof mr mrs ms st hon",
    "en": "dr prof mr mrs ms messrs st mt gen sen sens rep reps gov col lt sgt capt cmdr maj adm "
    "rev pres supt ald",
    "de": "dr prof hr fr frl st hl dipl ing mag",
    "fr": "m mm mme mmes mlle mlles dr pr prof me mgr st ste",
    "es": "sr sra srta sres dr dra prof d dña ud uds vd vds lic ing sto sta gral",
    "it": "sig sigg dott dr prof avv ing arch on geom rag",
    "pt": "sr sra srta dr dra prof profa eng exmo exma",
    "nl": "dhr mw mevr dr drs ir ing prof mr st ds",
    "cs": "dr ing mgr prof doc bc mudr judr phdr sv p pan",
    "pl": "dr prof inż mgr św ks im ul",
    "ru": "г гг ул им тов проф акад д р",
    "sv": "dr prof hr fr st",
    "da": "dr prof hr fr st",
    "hi": "डॉ प्रो",
}
"""A name follows these: never the end of a sentence."""
WITHIN = {
    "": "e.g i.e cf vs viz approx",
    "en": "e.g i.e cf vs viz approx esp incl resp dept",
    "de": "z.b d.h u.a o.ä i.d.r u.u s.o s.u v.a z.t z.zt m.e bzw vgl ca evtl ggf inkl exkl "
    "sog bspw insb zzgl gem lt abzgl sen jun geb gest",
    "fr": "p.ex c.-à-d cf env av apr boul bd hab",
    "es": "p.ej p.e cf aprox av avda núm",
    "it": "p.es ad.es cfr ca",
    "pt": "p.ex cf aprox av",
    "nl": "bijv bv d.w.z o.a m.a.w t.o.v m.b.t i.v.m resp ca nl",
    "cs": "např tj tzv resp popř mj atp",
    "pl": "np tzn tj tzw m.in ok",
    "ru": "т.е т.к т.н т.о напр см ср",
    "sv": "t.ex bl.a d.v.s dvs ca",
    "da": "f.eks bl.a dvs ca",
}
"""The sentence continues behind these."""
NUMBERED = {
    "": "no nos vol fig p pp art",
    "en": "no nos vol vols fig figs p pp art sec ch para jan feb mar apr jun jul aug sep sept oct "
    "nov dec ca c",
    "de": "nr nrn abs art abb bd kap s str tel ziff tab jan feb apr aug sept okt nov dez",
    "fr": "n no nos art p pp vol fig chap tél janv févr avr juil sept oct nov déc",
    "es": "n núm art pág págs p pp vol fig cap tel",
    "it": "n art pag pagg p pp vol fig cap tel",
    "pt": "n art pág págs p pp vol fig cap tel",
    "nl": "nr art blz p pp afb hfst tel",
    "cs": "č čl odst str s obr kap tel",
    "pl": "nr art ust str s rys rozdz tel",
    "ru": "стр с рис табл гл тел п пп ст",
}
"""A number follows these; without one, the period ends the sentence."""
EITHER = {
    "": "inc ltd co corp jr sr bros al",
    "en": "inc ltd co corp jr sr bros al est ave blvd rd ft",
    "de": "v.chr n.chr co jr al",
    "fr": "al cie av.j.-c",
    "es": "cía al a.c d.c",
}
"""These end a sentence only if a word of STARTERS follows, as behind initials and acronyms."""
STARTERS = {
    "en": "The A An He She It They We I You This That These Those There In On At But And Or So If "
    "When While After Before As For From To With His Her Their Our My Your Its No Not Yes What Who "
    "Why How Where Then However Also",
    "de": "Der Die Das Ein Eine Er Sie Es Wir Ich Du Ihr Dieser Diese Dieses Und Aber Oder Doch In "
    "Im Am An Auf Bei Mit Nach Vor Für Von Zu Wenn Als Da Dann So Auch Nicht Was Wer Wie Wo Warum "
    "Sein Seine Ihre Mein Meine Man Dort Hier Danach Dabei Heute Jetzt",
    "fr": "Un Une Il Elle Ils Elles On Nous Vous Je Tu Ce Cette Ces Cet Et Mais Ou Dans En Au Aux "
    "Sur Pour Par Avec Si Quand Son Sa Ses Leur Que Qui Où Comment Pourquoi",
    "es": "El Un Una Él Ella Ellos Ellas Nosotros Yo Este Esta Esto Y Pero En Se No Si Cuando Su",
    "it": "Il Un Una Lui Lei Loro Noi Io Questo Questa E Ma In Si Non Se Quando",
    "pt": "Ele Ela Eles Elas Nós Eu Este Esta Isto Mas Em Não Se Quando Um Uma",
    "nl": "Het Een Hij Zij Ze Wij We Ik Dit Dat En Maar In Op Als Toen Er",
    "cs": "A Ale On Ona Oni My Já Ty To Ten Když Pak V Na",
}
"""Words that begin a sentence and no name."""
ORDINALS = "de cs sk sl hr sr bs pl hu fi et lv da nb nn no is tr lb"
"""Languages that write ordinal numbers with a period."""


def sentence_ends(line: str, language: str = "") -> list[int]:
    """Return the index behind each sentence of a line, except the last.

    `language` is an ISO 639 code; it selects abbreviations and whether "3." is an ordinal number.
    Blanks between two sentences follow the index. Each sentence holds a letter or a digit.
    """
    first = MARK.search(line)
    if first is None or not WORDS.search(line, first.end()):
        return []
    rules = _rules_of(re.split(r"[-_]", language.lower(), maxsplit=1)[0])
    cased = any(letter.isupper() for letter in line)
    ends: list[int] = []
    for match in END.finditer(line):
        begin = ends[-1] if ends else 0
        sentence = line[max(begin, match.start() - LOOK_BACK) : match.start()]
        if not WORDS.search(sentence):
            continue
        if match["always"]:
            quoted = match.group()[-1] in "」』”" and line[match.end()] in QUOTED
            ends += [] if quoted else [match.end()]
        elif match["mark"] is None or _is_boundary(line, begin, match, sentence, rules, cased):
            ends.append(match.end())
    if ends and not WORDS.search(line, ends[-1]):
        ends.pop()
    return ends


class _Rules:
    """The word lists of one language."""

    def __init__(self, language: str) -> None:
        self.titles, self.within, self.numbered, self.either, starters = (
            frozenset(f"{lists.get('', '')} {lists.get(language, '')}".split())
            for lists in (TITLES, WITHIN, NUMBERED, EITHER, STARTERS)
        )
        self.starters = starters
        self.ordinals = language in ORDINALS.split()
        self.pronoun = "I" if language in ("en", "") else None
        """A word with a capital letter inside a sentence."""


_RULES: dict[str, _Rules] = {}


def _rules_of(language: str) -> _Rules:
    if language not in _RULES:
        _RULES[language] = _Rules(language)
    return _RULES[language]


def _is_boundary(
    line: str, begin: int, match: re.Match[str], sentence: str, rules: _Rules, cased: bool
) -> bool:
    """Return whether a sentence that began at `begin` ends at a Latin punctuation mark."""
    following = NEXT.match(line, match.end())
    if following is None:
        return True
    word, mark = following["word"], match["mark"]
    if cased and word[0].islower():
        return False
    if mark != ".":
        if "!" in mark or "?" in mark or mark in "‼⁇⁈⁉":
            return True
        pronoun = re.split("['’]", word)[0] == rules.pronoun
        return cased and not word[0].isdigit() and not pronoun
    if ITEM.match(line, begin, match.start()):
        return False
    starts = not following["dot"] and re.split("['’]", word)[0] in rules.starters
    return _period_ends(sentence, word, starts, rules)


def _period_ends(sentence: str, word: str, starts: bool, rules: _Rules) -> bool:
    """Return whether a period behind `sentence` ends it, if `word` follows.

    `starts`: the word begins a sentence and no name.
    """
    sentence = sentence.rstrip()  # tokenized text has a blank before the period
    token = TOKEN.search(sentence)
    if token is None:
        return True
    last = token.group()
    forms = _abbreviations(sentence) | {last.casefold()}
    if forms & (rules.titles | rules.within):
        return False
    if forms & rules.numbered and word[0].isdigit():
        return False
    if NUMBER.match(last):
        return starts or not rules.ordinals or len(last) > 3
    single = len(last) == 1 and last.isalpha()
    if single and last == rules.pronoun:
        single = bool(re.search(r"(?:^|\s)[A-Z][^\s]*\s+I$", sentence))
    if single or ACRONYM.match(last) or forms & rules.either:
        clock = last.casefold() in ("a.m", "p.m")
        return starts or clock
    return True


def _abbreviations(sentence: str) -> set[str]:
    """Return the abbreviations of several parts that a text may end with, without blanks."""
    dotted = DOTTED.search(sentence)
    if dotted is None:
        return set()
    parts = re.sub(r"[\s\u00a0]", "", dotted.group()).casefold().split(".")
    return {".".join(parts[first:]) for first in range(len(parts))}

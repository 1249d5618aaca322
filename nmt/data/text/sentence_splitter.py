"""Find sentence boundaries in a line of raw text.

A rule-based splitter for any script, similar to the non-breaking prefix lists of Moses and Europarl
(Koehn 2005). It works without a model. A missed boundary is considered better than a wrong one.
"""

from __future__ import annotations

import re
from functools import cache

CLOSERS = "\"'”’“‘»«›‹)\\]}」』）】》〉〗］＂"
"""Quotation marks and brackets that can follow the final punctuation of a sentence."""
END = re.compile(
    rf"(?P<always>(?:[。！？｡।॥؟۔።፧։။។៕]+[{CLOSERS}]*)+)(?=\s*\S)"
    rf"|(?P<mark>[.!?…‼⁇⁈⁉]+)(?:[{CLOSERS}]+|[ \u00a0\u202f]»(?=\s))*(?=\s+\S)"
    r"|[!?]+(?=[\u3040-\u30ff\u4e00-\u9fff])"
)
"""Final punctuation with its closers; group `always` ends every sentence, group `mark` may."""
FINAL_PUNCTUATION = re.compile("[.!?…‼⁇⁈⁉。！？｡।॥؟۔።፧։။៕]")
NEXT_WORD = re.compile(
    r"\s*[\"'“‘„«»‹›(\[{¿¡*_•\u2013\u2014-]*\s*(?P<word>\w[^\s.,;:!?)]*)(?P<dot>\.?)"
)
"""The first word after a possible boundary."""
LETTER_OR_DIGIT = re.compile(r"[^\W_]")
LAST_TOKEN = re.compile(r"[^\s()\[\]{}\"“”„«»‘’'/]+$")
LAST_ABBREVIATION = re.compile(r"(?:[^\W\d_]{1,3}\.[\s\u00a0]?-?)*[^\W\d_]{1,12}$")
"""An abbreviation of several parts at the end, such as "z. B" or "c.-à-d"."""
ACRONYM = re.compile(r"(?:[^\W\d_]\.)+[^\W\d_]$|Ph\.D$")
NUMBER = re.compile(r"\d+(?:[.,:/-]\d+)*$|[IVXLC]+$")
LIST_ITEM = re.compile(r"\W*(?:\d{1,3}(?:\.\d+)*|[^\W\d_]|[ivxIVX]{1,5})\W*$")
"""The number or letter of a list item."""
QUOTE_CONTINUATIONS = "とっでなはがをにのもや、，,"
"""Characters that continue a Japanese or Chinese sentence after a quotation."""
MAX_LOOK_BACK = 60
"""Maximum number of characters before a period that are inspected."""

BEFORE_NAME = {
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
"""Abbreviations before a name. A period after them never ends a sentence."""
INSIDE_SENTENCE = {
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
"""Abbreviations inside a sentence. A period after them never ends it."""
BEFORE_NUMBER = {
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
"""Abbreviations before a number. Without a number, a period after them ends the sentence."""
AMBIGUOUS = {
    "": "inc ltd co corp jr sr bros al",
    "en": "inc ltd co corp jr sr bros al est ave blvd rd ft",
    "de": "v.chr n.chr co jr al",
    "fr": "al cie av.j.-c",
    "es": "cía al a.c d.c",
}
"""Abbreviations that end a sentence only if a word of STARTERS follows, like initials."""
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
"""Words that start a sentence, but not a name."""
ORDINAL_LANGUAGES = "de cs sk sl hr sr bs pl hu fi et lv da nb nn no is tr lb"
"""Languages that write ordinal numbers with a period."""


def find_sentence_ends(line: str, language: str = "") -> list[int]:
    """Return the index after each sentence of a line, except the last sentence.

    `language` is an ISO 639 code; it selects the abbreviations, and whether "3." is an ordinal
    number. Spaces between two sentences follow the index. Each sentence contains a letter or digit.
    """
    first = FINAL_PUNCTUATION.search(line)
    if first is None or not LETTER_OR_DIGIT.search(line, first.end()):
        return []
    rules = _load_rules(re.split(r"[-_]", language.lower(), maxsplit=1)[0])
    is_cased = any(character.isupper() for character in line)
    ends: list[int] = []
    for match in END.finditer(line):
        begin = ends[-1] if ends else 0
        sentence = line[max(begin, match.start() - MAX_LOOK_BACK) : match.start()]
        if not LETTER_OR_DIGIT.search(sentence):
            continue
        if match["always"]:
            is_quotation = match.group()[-1] in "」』”"
            if not (is_quotation and line[match.end()] in QUOTE_CONTINUATIONS):
                ends.append(match.end())
        elif match["mark"] is None or _is_boundary(line, begin, match, sentence, rules, is_cased):
            ends.append(match.end())
    if ends and not LETTER_OR_DIGIT.search(line, ends[-1]):
        ends.pop()
    return ends


class _Rules:
    """The word lists of one language."""

    def __init__(self, language: str) -> None:
        self.before_name = _words_of(BEFORE_NAME, language)
        self.inside_sentence = _words_of(INSIDE_SENTENCE, language)
        self.before_number = _words_of(BEFORE_NUMBER, language)
        self.ambiguous = _words_of(AMBIGUOUS, language)
        self.starters = _words_of(STARTERS, language)
        self.has_ordinals = language in ORDINAL_LANGUAGES.split()
        self.capital_pronoun = "I" if language in ("en", "") else None
        """A pronoun that is capitalized inside a sentence."""


def _words_of(lists: dict[str, str], language: str) -> frozenset[str]:
    """Return the words of a list for all languages and for one language."""
    return frozenset(f"{lists.get('', '')} {lists.get(language, '')}".split())


_load_rules = cache(_Rules)


def _is_boundary(
    line: str, begin: int, match: re.Match[str], sentence: str, rules: _Rules, is_cased: bool
) -> bool:
    """Return whether Latin punctuation ends the sentence that starts at `begin`.

    `match` is the punctuation, `sentence` is the text before it (at most MAX_LOOK_BACK characters),
    and `is_cased` means that the line has capital letters.
    """
    following = NEXT_WORD.match(line, match.end())
    if following is None:
        return True
    word, mark = following["word"], match["mark"]
    stem = re.split("['’]", word)[0]
    if is_cased and word[0].islower():
        return False
    if mark != ".":
        if "!" in mark or "?" in mark or mark in "‼⁇⁈⁉":
            return True
        return is_cased and not word[0].isdigit() and stem != rules.capital_pronoun
    if LIST_ITEM.match(line, begin, match.start()):
        return False
    is_starter = not following["dot"] and stem in rules.starters
    return _period_ends(sentence, word, is_starter, rules)


def _period_ends(sentence: str, next_word: str, is_starter: bool, rules: _Rules) -> bool:
    """Return whether a period after `sentence` ends it, if `next_word` follows.

    `is_starter` means that the next word starts a sentence, but not a name.
    """
    sentence = sentence.rstrip()  # tokenized text has a space before the period
    last_token = LAST_TOKEN.search(sentence)
    if last_token is None:
        return True
    token = last_token.group()
    abbreviations = _final_abbreviations(sentence) | {token.casefold()}
    if abbreviations & (rules.before_name | rules.inside_sentence):
        return False
    if abbreviations & rules.before_number and next_word[0].isdigit():
        return False
    if NUMBER.match(token):
        return is_starter or not rules.has_ordinals or len(token) > 3
    is_initial = len(token) == 1 and token.isalpha()
    if is_initial and token == rules.capital_pronoun:
        is_initial = bool(re.search(r"(?:^|\s)[A-Z][^\s]*\s+I$", sentence))
    if is_initial or ACRONYM.match(token) or abbreviations & rules.ambiguous:
        is_clock_time = token.casefold() in ("a.m", "p.m")
        return is_starter or is_clock_time
    return True


def _final_abbreviations(sentence: str) -> set[str]:
    """Return the abbreviations of several parts that a text can end with, without spaces."""
    match = LAST_ABBREVIATION.search(sentence)
    if match is None:
        return set()
    parts = re.sub(r"[\s\u00a0]", "", match.group()).casefold().split(".")
    return {".".join(parts[first:]) for first in range(len(parts))}

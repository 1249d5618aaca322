"""A small bilingual grammar that writes English sentences, their French and their word links.

Every English and every French word carries the *link keys* of the concepts it expresses; a French
word is aligned to an English word when they share a key.  Phrases are plain lists of such words, so
the grammar may put them in a different order on each side, and the written form (elision,
contraction, punctuation) is made at the end by joining words together and uniting their keys.

Only the standard library is used, and only ``random.Random.random`` for chance, so that a seed
gives the same sentences on every Python version.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any, NamedTuple, TypeVar

# --------------------------------------------------------------------------------------------------
# Words and their written form
# --------------------------------------------------------------------------------------------------


class Word(NamedTuple):
    """One word of a sentence that is being built.

    ``kind`` selects the spelling rules: ``art`` is an article that contracts, ``det`` and ``pre``
    are words that depend on the next sound, ``glue`` is a word that attaches to the previous word.
    """

    text: str
    keys: tuple[int, ...] = ()
    kind: str = ""


Words = list[Word]

ELIDING = ("le", "la", "je", "me", "se", "ne", "de", "que")
ASPIRATED = ("haricot", "héros", "huit", "onze", "haut")
BEFORE_VOWEL = {
    "ma": "mon",
    "sa": "son",
    "ce": "cet",
    "beau": "bel",
    "vieux": "vieil",
    "nouveau": "nouvel",
}
CONTRACTED = {("de", "le"): "du", ("de", "les"): "des", ("à", "le"): "au", ("à", "les"): "aux"}


@cache
def starts_with_vowel_sound(text: str) -> bool:
    """Say whether a French word makes the word before it elide."""
    lower = text.lower()
    return lower == "y" or (lower[0] in "aâàeéèêiîïoôuûœh" and not lower.startswith(ASPIRATED))


def write_french(words: Sequence[Word]) -> list[Word]:
    """Apply contraction, elision and the forms used before a vowel, from right to left."""
    written: list[Word] = []
    for word in reversed(words):
        text, keys, kind = word
        after = written[-1] if written else Word("")
        vowel = bool(after.text) and starts_with_vowel_sound(after.text)
        if after.kind == "glue":
            written[-1] = Word(text + after.text, keys + after.keys)
            continue
        if after.kind == "art" and (text, after.text) in CONTRACTED:
            written[-1] = Word(CONTRACTED[text, after.text], keys + after.keys)
            continue
        if kind in ("det", "pre") and vowel:
            text = BEFORE_VOWEL.get(text, text)
        if (text in ELIDING and vowel) or (text == "si" and after.text in ("il", "ils")):
            written[-1] = Word(text[:-1] + "'" + after.text, keys + after.keys)
            continue
        written.append(Word(text, keys, kind))
    written.reverse()
    return capitalised(written)


def write_english(words: Sequence[Word]) -> list[Word]:
    """Choose ``a`` or ``an`` and attach punctuation and the possessive."""
    written: list[Word] = []
    for index, word in enumerate(words):
        text = word.text
        if text == "a" and english_vowel(words[index + 1].text):
            text = "an"
        if word.kind == "glue":
            last = written.pop()
            written.append(Word(last.text + text, last.keys + word.keys))
        else:
            written.append(Word(text, word.keys))
    return capitalised(written)


def english_vowel(text: str) -> bool:
    """Say whether an English word takes ``an``."""
    return text[0].lower() in "aeiou" and not text.startswith(("use", "uni", "eu"))


def capitalised(words: list[Word]) -> list[Word]:
    """Give the first word a capital letter."""
    first = words[0]
    return [first._replace(text=first.text[0].upper() + first.text[1:]), *words[1:]]


@cache
def parse_phrase(text: str) -> tuple[tuple[str, tuple[int, ...], str], ...]:
    """Read ``la/1 Banque/4 aux/1,2``: words with the numbers of the concepts they express."""
    parsed = []
    for item in text.split():
        word, _, numbers = item.partition("/")
        kind = "art" if word in ("le", "la", "les") else ""
        parsed.append((word, tuple(int(number) for number in (numbers or "0").split(",")), kind))
    return tuple(parsed)


# --------------------------------------------------------------------------------------------------
# Lexicon: nouns
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Noun:
    """A noun of both languages, with its plurals, gender and semantic class."""

    en: str
    fr: str
    gender: str
    cls: str = ""
    en_plural: str = ""
    fr_plural: str = ""
    mass: bool = False
    at: str = "in"

    def english(self, plural: bool) -> str:
        """The English form."""
        return self.en_plural if plural else self.en

    def french(self, plural: bool) -> str:
        """The French form."""
        return self.fr_plural if plural else self.fr


def english_plural(noun: str) -> str:
    """The regular English plural."""
    if noun.endswith(("s", "x", "ch", "sh", "to", "hero")):
        return noun + "es"
    if noun.endswith("y") and noun[-2] not in "aeou":
        return noun[:-1] + "ies"
    return noun + "s"


def french_plural(noun: str) -> str:
    """The regular French plural of a one-word noun or adjective."""
    if noun.endswith(("s", "x")):
        return noun
    if noun.endswith("eau"):
        return noun + "x"
    if noun.endswith("al"):
        return noun[:-2] + "aux"
    return noun + "s"


def noun_class(cls: str, table: str, **shared: Any) -> list[Noun]:
    """Read lines ``english, french, gender[, english plural[, french plural]]``."""
    nouns = []
    for row in table.strip().splitlines():
        en, fr, gender, *plurals = (cell.strip() for cell in row.split(","))
        plurals += [""] * (2 - len(plurals))
        en_plural = plurals[0] or english_plural(en)
        fr_plural = plurals[1] or french_plural(fr)
        nouns.append(Noun(en, fr, gender, cls, en_plural, fr_plural, **shared))
    return nouns


HUMANS = noun_class(
    "human",
    """
    teacher, professeur, m
    doctor, médecin, m
    nurse, infirmière, f
    student, étudiant, m
    neighbour, voisin, m
    man, homme, m, men
    woman, femme, f, women
    boy, garçon, m
    girl, fille, f
    child, enfant, m, children
    farmer, fermier, m
    actress, actrice, f
    queen, reine, f
    hero, héros, m
    """,
)
RELATIVES = noun_class(
    "human",
    """
    friend, ami, m
    brother, frère, m
    sister, sœur, f
    mother, mère, f
    father, père, m
    aunt, tante, f
    """,
)
ANIMALS = noun_class(
    "animal",
    """
    dog, chien, m
    cat, chat, m
    horse, cheval, m
    bird, oiseau, m
    """,
)
FOODS = noun_class(
    "food",
    """
    apple, pomme, f
    potato, pomme de terre, f, , pommes de terre
    egg, œuf, m
    cake, gâteau, m
    orange, orange, f
    bean, haricot, m
    """,
) + noun_class(
    "food",
    """
    bread, pain, m
    cheese, fromage, m
    meat, viande, f
    soup, soupe, f
    """,
    mass=True,
)
DRINKS = noun_class(
    "drink",
    """
    water, eau, f
    milk, lait, m
    coffee, café, m
    wine, vin, m
    """,
    mass=True,
)
READABLES = noun_class(
    "readable",
    """
    book, livre, m
    letter, lettre, f
    newspaper, journal, m
    story, histoire, f
    article, article, m
    poem, poème, m
    """,
)
THINGS = noun_class(
    "thing",
    """
    car, voiture, f
    bicycle, vélo, m
    key, clé, f
    computer, ordinateur, m
    umbrella, parapluie, m
    hat, chapeau, m
    dress, robe, f
    bag, sac, m
    box, boîte, f
    watch, montre, f
    painting, tableau, m
    flower, fleur, f
    gift, cadeau, m
    toothbrush, brosse à dents, f, , brosses à dents
    washing machine, machine à laver, f, , machines à laver
    camera, appareil photo, m, , appareils photo
    table, table, f
    chair, chaise, f
    """,
)
PARTS = noun_class(
    "part",
    """
    door, porte, f
    window, fenêtre, f
    """,
)
SONGS = noun_class("song", "song, chanson, f")
ROOMS = noun_class(
    "place",
    """
    house, maison, f
    garden, jardin, m
    kitchen, cuisine, f
    village, village, m
    town, ville, f
    forest, forêt, f
    street, rue, f
    """,
    at="in",
)
SITES = noun_class(
    "place",
    """
    school, école, f
    hospital, hôpital, m
    railway station, gare, f
    office, bureau, m
    market, marché, m
    church, église, f
    restaurant, restaurant, m
    swimming pool, piscine, f
    town hall, mairie, f
    castle, château, m
    """,
    at="at",
)
BRIDGES = noun_class("place", "bridge, pont, m", at="on")
PLACES = ROOMS + SITES
POLITICS = noun_class(
    "politics",
    """
    agreement, accord, m
    treaty, traité, m
    law, loi, f
    report, rapport, m
    decision, décision, f
    reform, réforme, f
    budget, budget, m
    proposal, proposition, f
    """,
)
BODIES = noun_class(
    "body",
    """
    government, gouvernement, m
    company, entreprise, f
    minister, ministre, m
    """,
)
OWNABLE = (
    *("teacher", "doctor", "student", "neighbour", "nurse"),
    *("house", "garden", "kitchen", "school", "office", "village"),
)
FOLK = HUMANS + RELATIVES
NOUNS = {
    noun.en: noun
    for noun in itertools.chain(
        FOLK, ANIMALS, FOODS, DRINKS, READABLES, THINGS, PARTS, SONGS, PLACES, BRIDGES, POLITICS
    )
}


def named(names: str) -> list[Noun]:
    """Look up nouns by their comma-separated English names."""
    return [NOUNS[name.strip()] for name in names.split(",")]


# --------------------------------------------------------------------------------------------------
# Lexicon: names
# --------------------------------------------------------------------------------------------------

PEOPLE = (
    ("Marie", "f"),
    ("Paul", "m"),
    ("Anne", "f"),
    ("Pierre", "m"),
    ("Julie", "f"),
    ("Thomas", "m"),
    ("Sophie", "f"),
    ("Antoine", "m"),
)
CITIES = (
    ("Paris", "Paris"),
    ("London", "Londres"),
    ("Rome", "Rome"),
    ("Brussels", "Bruxelles"),
    ("Geneva", "Genève"),
    ("Lisbon", "Lisbonne"),
    ("Athens", "Athènes"),
)
# English, French with article, French after "in" or "to".
COUNTRIES = (
    ("France/2", "la France/2", "en/1 France/2"),
    ("Canada/2", "le Canada/2", "au/1 Canada/2"),
    ("Japan/2", "le Japon/2", "au/1 Japon/2"),
    ("Italy/2", "la Italie/2", "en/1 Italie/2"),
    ("Germany/2", "la Allemagne/2", "en/1 Allemagne/2"),
    ("Spain/2", "la Espagne/2", "en/1 Espagne/2"),
    ("Portugal/2", "le Portugal/2", "au/1 Portugal/2"),
    ("the/2 United/3 States/4", "les/2 États-Unis/3,4", "aux/1,2 États-Unis/3,4"),
)
# English, French, gender, plural.
INSTITUTIONS = (
    ("the/1 European/2 Central/3 Bank/4", "la/1 Banque/4 centrale/3 européenne/2", "f", False),
    (
        "the/1 International/2 Monetary/3 Fund/4",
        "le/1 Fonds/4 monétaire/3 international/2",
        "m",
        False,
    ),
    ("the/1 United/2 Nations/3", "les/1 Nations/3 unies/2", "f", True),
    ("the/1 European/2 Union/3", "la/1 Union/3 européenne/2", "f", False),
    ("the/1 European/2 Parliament/3", "le/1 Parlement/3 européen/2", "m", False),
    ("the/1 European/2 Commission/3", "la/1 Commission/3 européenne/2", "f", False),
    ("the/1 World/2 Bank/3", "la/1 Banque/3 mondiale/2", "f", False),
    (
        "the/1 World/2 Health/3 Organization/4",
        "la/1 Organisation/4 mondiale/2 de/3 la/3 santé/3",
        "f",
        False,
    ),
    ("the/1 Security/2 Council/3", "le/1 Conseil/3 de/2 sécurité/2", "m", False),
)
TOPICS = (
    ("the/1 European/2 Economic/3 Area/4", "la/1 zone/4 économique/3 européenne/2"),
    ("international/2 trade/3", "le commerce/3 international/2"),
    ("climate/2 change/3", "le changement/3 climatique/2"),
    ("public/2 health/3", "la santé/3 publique/2"),
    ("the/1 single/2 market/3", "le/1 marché/3 unique/2"),
)

# --------------------------------------------------------------------------------------------------
# Lexicon: adjectives
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, eq=False)
class Adjective:
    """An adjective; ``forms`` are masculine, feminine, masculine plural and feminine plural."""

    en: str
    forms: tuple[str, str, str, str]
    classes: tuple[str, ...]
    before: bool = False
    predicate: bool = True
    more: str = ""

    def french(self, gender: str, plural: bool) -> str:
        """The form that agrees with this gender and number."""
        return self.forms[2 * plural + (gender == "f")]


def adjective_forms(masculine: str, feminine: str) -> tuple[str, str, str, str]:
    """Derive the plural forms; an invariable adjective has a space or ``=`` for its feminine."""
    if feminine == "=":
        return (masculine,) * 4
    if not feminine:
        feminine = masculine if masculine.endswith("e") else masculine + "e"
    return (masculine, feminine, french_plural(masculine), feminine + "s")


def adjective_table(table: str, **shared: Any) -> list[Adjective]:
    """Read lines ``english, masculine, feminine, classes[, comparative]``."""
    adjectives = []
    for row in table.strip().splitlines():
        en, masculine, feminine, classes, *more = (cell.strip() for cell in row.split(","))
        forms = adjective_forms(masculine, feminine)
        adjectives.append(
            Adjective(en, forms, tuple(classes.split()), more="".join(more), **shared)
        )
    return adjectives


ADJECTIVES = (
    adjective_table(
        """
        big, grand, , thing place part animal, bigger
        small, petit, , thing place part animal readable body, smaller
        tall, grand, , human, taller
        beautiful, beau, belle, thing place animal song part
        """,
        before=True,
    )
    + adjective_table(
        """
        old, vieux, vieille, human animal thing place part readable song
        new, nouveau, nouvelle, thing place readable song politics body part
        good, bon, bonne, food drink readable song
        young, jeune, , human
        long, long, longue, readable song politics
        bad, mauvais, , food drink readable song politics
        """,
        before=True,
        predicate=False,
    )
    + adjective_table(
        """
        red, rouge, , thing part
        blue, bleu, , thing part
        green, vert, , thing part
        white, blanc, blanche, thing part animal
        black, noir, , thing part animal
        broken, cassé, , thing part
        dirty, sale, , thing part animal kitchen house street office restaurant
        expensive, cher, chère, thing food drink
        wooden, en bois, =, table chair box door bridge house
        French, français, , human thing readable song food body politics wine
        Italian, italien, italienne, human thing readable song food body wine
        German, allemand, , human thing readable song food body
        Spanish, espagnol, , human thing readable song food body wine
        Canadian, canadien, canadienne, human body readable song
        cold, froid, , food drink kitchen house church office
        hot, chaud, , soup meat milk coffee water potato
        delicious, délicieux, délicieuse, food drink
        fresh, frais, fraîche, egg bread cheese water milk meat
        empty, vide, , box bag house street church office swimming_pool
        poor, pauvre, , human, poorer
        famous, célèbre, , human painting song poem book place
        sad, triste, , human song story poem letter
        happy, heureux, heureuse, human
        serious, sérieux, sérieuse, human article newspaper politics
        shy, timide, , human
        intelligent, intelligent, , human animal
        interesting, intéressant, , readable place politics
        difficult, difficile, , readable politics
        important, important, , readable politics body
        economic, économique, , reform law treaty agreement report budget
        political, politique, , reform agreement report decision article
        international, international, , treaty law agreement company
        """,
    )
)
TEMPORARY = adjective_table(
    """
    tired, fatigué, , human
    sick, malade, , human animal
    busy, occupé, , human
    ready, prêt, , human
    """
)
# English, French noun: to be hungry = avoir faim.
SENSATIONS = (
    ("hungry", "faim"),
    ("thirsty", "soif"),
    ("cold", "froid"),
    ("hot", "chaud"),
    ("right", "raison"),
    ("wrong", "tort"),
    ("sleepy", "sommeil"),
    ("afraid", "peur"),
)
UNCOMPARED = ("French", "Italian", "German", "Spanish", "Canadian", "sad", "shy", "happy")
SIZES = ("big", "small")
COLOURS = ("red", "blue", "green", "white", "black")
NATIONALITIES = ("French", "Italian", "German", "Spanish", "Canadian")


@cache
def adjectives_for(noun: Noun, before: bool) -> list[Adjective]:
    """The adjectives that make sense with a noun, on one side of the French noun."""
    tags = {noun.cls, noun.en, noun.en.replace(" ", "_")}
    return [
        adjective
        for adjective in ADJECTIVES
        if adjective.before == before
        and tags & set(adjective.classes)
        and not (adjective.en == "tall" and noun.en in ("father", "mother"))
    ]


# --------------------------------------------------------------------------------------------------
# Lexicon: verbs
# --------------------------------------------------------------------------------------------------

JE, IL, NOUS, VOUS, ILS = range(5)


@dataclass(frozen=True, slots=True, eq=False)
class Conjugation:
    """The forms of a French verb for je, il, nous, vous and ils."""

    infinitive: str
    present: tuple[str, ...]
    future_stem: str
    participle: str
    imperfect_stem: str
    etre: bool = False

    def future(self, person: int) -> str:
        """The simple future."""
        return self.future_stem + ("ai", "a", "ons", "ez", "ont")[person]

    def imperfect(self, person: int) -> str:
        """The imparfait."""
        ending = ("ais", "ait", "ions", "iez", "aient")[person]
        stem = self.imperfect_stem
        return (stem[:-1] if stem.endswith("ge") and ending[0] == "i" else stem) + ending

    def agreeing(self, gender: str, plural: bool) -> str:
        """The past participle with its agreement."""
        form = self.participle + ("e" if gender == "f" else "")
        return form + "s" if plural and not form.endswith("s") else form


def regular(infinitive: str, strong: str = "", etre: bool = False) -> Conjugation:
    """A verb in -er; ``strong`` is the stem of its unstressed endings when it changes."""
    weak = infinitive[:-2]
    strong = strong or weak
    soft = weak + "e" if weak.endswith("g") else weak
    present = (strong + "e", strong + "e", soft + "ons", weak + "ez", strong + "ent")
    return Conjugation(infinitive, present, strong + "er", weak + "é", soft, etre)


def irregular(line: str, etre: bool = False) -> Conjugation:
    """A verb given as infinitive, five present forms, future stem and participle."""
    infinitive, *present, future, participle = line.split()
    return Conjugation(infinitive, tuple(present), future, participle, present[2][:-3], etre)


ETRE = Conjugation("être", ("suis", "est", "sommes", "êtes", "sont"), "ser", "été", "ét")
AVOIR = irregular("avoir ai a avons avez ont aur eu")
ALLER = irregular("aller vais va allons allez vont ir allé", etre=True)
SUBJUNCTIVES = {
    "être": ("sois", "soit", "soyons", "soyez", "soient"),
    "avoir": ("aie", "ait", "ayons", "ayez", "aient"),
}


@dataclass(frozen=True, slots=True, eq=False)
class Verb:
    """A verb in both languages with its complements.

    ``particle`` follows the English verb ("for"), ``preposition`` comes before the French object
    ("à"), ``extra`` follows the French verb ("besoin").  A ``stative`` verb has no progressive and
    uses the imparfait.
    """

    en: str
    third: str
    past: str
    participle: str
    ing: str
    fr: Conjugation
    particle: str = ""
    preposition: str = ""
    extra: str = ""
    stative: bool = False
    reflexive: bool = False
    objects: tuple[Noun, ...] = ()

    @property
    def name(self) -> str:
        """A name that tells the verb from others: "look for"."""
        return f"{self.en} {self.particle}".strip()


def english_forms(forms: str) -> tuple[str, str, str, str, str]:
    """Complete ``base[ past[ participle[ ing]]]`` to the five English forms."""
    base, *listed_forms = forms.split()
    if base == "have":
        third = "has"
    elif base.endswith(("s", "sh", "ch", "o")):
        third = base + "es"
    elif base.endswith("y") and base[-2] not in "aeou":
        third = base[:-1] + "ies"
    else:
        third = base + "s"
    regular_past = (
        base + "d"
        if base.endswith("e")
        else third[:-2] + "ed"
        if third.endswith("ies")
        else base + "ed"
    )
    past = listed_forms[0] if listed_forms else regular_past
    participle = listed_forms[1] if len(listed_forms) > 1 else past
    ing = (
        listed_forms[2]
        if len(listed_forms) > 2
        else (base[:-1] if base.endswith("e") else base) + "ing"
    )
    return base, third, past, participle, ing


def verb(forms: str, fr: Conjugation, objects: Iterable[Noun] = (), **more: Any) -> Verb:
    """Make a verb from its English forms and its French conjugation."""
    return Verb(*english_forms(forms), fr, objects=tuple(objects), **more)


ALL_THINGS = THINGS + READABLES
CONTENTS = ALL_THINGS + FOODS

TRANSITIVE = (
    verb("read read", irregular("lire lis lit lisons lisez lisent lir lu"), READABLES),
    verb(
        "write wrote written",
        irregular("écrire écris écrit écrivons écrivez écrivent écrir écrit"),
        named("book, letter, story, article, poem, song, report"),
    ),
    verb("eat ate eaten", regular("manger"), FOODS),
    verb("drink drank drunk", irregular("boire bois boit buvons buvez boivent boir bu"), DRINKS),
    verb("buy bought", regular("acheter", "achèt"), CONTENTS + DRINKS + named("house")),
    verb(
        "sell sold",
        irregular("vendre vends vend vendons vendez vendent vendr vendu"),
        THINGS + FOODS + named("house, horse, book"),
    ),
    verb(
        "see saw seen seeing",
        irregular("voir vois voit voyons voyez voient verr vu"),
        FOLK + ANIMALS + THINGS + PLACES + BRIDGES,
    ),
    verb("look", regular("chercher"), ALL_THINGS + FOLK + ANIMALS, particle="for"),
    verb("find found", regular("trouver"), ALL_THINGS + ANIMALS),
    verb(
        "lose lost",
        irregular("perdre perds perd perdons perdez perdent perdr perdu"),
        named("key, umbrella, hat, bag, watch, letter, book, camera, dog, cat, toothbrush"),
    ),
    verb(
        "like",
        regular("aimer"),
        FOLK + ANIMALS + SONGS + named("painting, dress, poem, story"),
        stative=True,
    ),
    verb(
        "know knew known",
        irregular("connaître connais connaît connaissons connaissez connaissent connaîtr connu"),
        FOLK + SONGS + PLACES + named("story, poem"),
        stative=True,
    ),
    verb("thank", regular("remercier"), FOLK),
    verb(
        "wait",
        irregular("attendre attends attend attendons attendez attendent attendr attendu"),
        FOLK,
        particle="for",
    ),
    verb("listen", regular("écouter"), FOLK + SONGS, particle="to"),
    verb(
        "look",
        regular("regarder"),
        FOLK + ANIMALS + named("painting, flower, watch, house, castle, dress, garden"),
        particle="at",
    ),
    verb("visit", regular("visiter"), named("house, garden, village, town") + SITES),
    verb("wash", regular("laver"), named("car, dress, dog, horse, table, window, apple")),
    verb(
        "open",
        irregular("ouvrir ouvre ouvre ouvrons ouvrez ouvrent ouvrir ouvert"),
        named("door, window, box, letter, bag, gift, umbrella"),
    ),
    verb("close", regular("fermer"), named("door, window, box, bag, book, umbrella")),
    verb(
        "repair",
        regular("réparer"),
        named("car, bicycle, computer, watch, camera, washing machine, table, chair, door, window"),
    ),
    verb("sing sang sung", regular("chanter"), SONGS),
    verb(
        "need",
        AVOIR,
        THINGS + FOLK + named("book, newspaper, house, horse, garden"),
        preposition="de",
        extra="besoin",
        stative=True,
    ),
    verb("have had had", AVOIR, THINGS + ANIMALS + named("house, garden, book"), stative=True),
    verb(
        "take took taken",
        irregular("prendre prends prend prenons prenez prennent prendr pris"),
        ALL_THINGS + named("apple, egg, orange, cake, potato"),
    ),
)
INDIRECT = (
    verb(
        "answer",
        irregular("répondre réponds répond répondons répondez répondent répondr répondu"),
        FOLK,
        preposition="à",
    ),
    verb("speak spoke spoken", regular("parler"), FOLK, particle="to", preposition="à"),
)
DITRANSITIVE = (
    verb("give gave given", regular("donner"), CONTENTS + DRINKS),
    verb("show showed shown", regular("montrer"), ALL_THINGS + PLACES + ANIMALS),
    verb(
        "send sent",
        irregular("envoyer envoie envoie envoyons envoyez envoient enverr envoyé"),
        READABLES + named("gift, flower, painting"),
    ),
    verb("bring brought", regular("apporter"), CONTENTS + DRINKS),
)
MOTION = (
    verb("go went gone", ALLER),
    verb("come came come", irregular("venir viens vient venons venez viennent viendr venu", True)),
    verb("run ran run running", irregular("courir cours court courons courez courent courr couru")),
)
ACTIVITIES = (
    verb("sleep slept", irregular("dormir dors dort dormons dormez dorment dormir dormi")),
    verb("work", regular("travailler")),
    verb("dance", regular("danser")),
    verb("sing sang sung", regular("chanter")),
    verb("swim swam swum swimming", regular("nager")),
    verb("live", regular("habiter"), stative=True),
    verb("stay", regular("rester", etre=True)),
    verb("fall fell fallen", regular("tomber", etre=True)),
)
ARRIVALS = (
    verb("arrive", regular("arriver", etre=True)),
    verb(
        "go went gone",
        irregular("sortir sors sort sortons sortez sortent sortir sorti", True),
        particle="out",
    ),
    verb("get got got getting", regular("lever", "lèv", etre=True), particle="up", reflexive=True),
)
INSTITUTIONAL = (
    verb("sign", regular("signer"), named("agreement, treaty, letter")),
    verb("publish", regular("publier"), named("report, decision, agreement, letter, budget")),
    verb("accept", regular("accepter"), POLITICS),
)
THINKING = (
    verb("think thought", regular("penser"), stative=True),
    verb("say said", irregular("dire dis dit disons dites disent dir dit")),
    verb(
        "know knew known", irregular("savoir sais sait savons savez savent saur su"), stative=True
    ),
    verb("hope", regular("espérer", "espèr"), stative=True),
)
BE = Verb("be", "is", "was", "been", "being", ETRE, stative=True)
MODALS = {
    "want": ("veux", "veut", "voulons", "voulez", "veulent"),
    "can": ("peux", "peut", "pouvons", "pouvez", "peuvent"),
    "must": ("dois", "doit", "devons", "devez", "doivent"),
    "would": ("voudrais", "voudrait", "voudrions", "voudriez", "voudraient"),
    "going to": ALLER.present,
}

# --------------------------------------------------------------------------------------------------
# Lexicon: adverbs and times
# --------------------------------------------------------------------------------------------------

NUMBERS = (
    ("two", "deux"),
    ("three", "trois"),
    ("four", "quatre"),
    ("five", "cinq"),
    ("ten", "dix"),
)
HOURS = (("three", "trois"), ("five", "cinq"), ("eight", "huit"), ("ten", "dix"))
AGES = (("ten", "dix"), ("twenty", "vingt"))
DAYS = (
    ("Monday", "lundi"),
    ("Sunday", "dimanche"),
)
MONTHS = (
    ("January", "janvier"),
    ("March", "mars"),
    ("May", "mai"),
    ("August", "août"),
    ("October", "octobre"),
    ("December", "décembre"),
)
YEARS = ("1968", "1992", "2004", "2016", "2025")
DATES = ("3", "15")
PAST_TIMES = (
    ("yesterday", "hier"),
    ("yesterday/1 evening/2", "hier/1 soir/2"),
    ("yesterday/1 morning/2", "hier/1 matin/2"),
    ("last/1 week/2", "la/3 semaine/2 dernière/1"),
    ("last/1 year/2", "l'année/2 dernière/1"),
    ("this/1 morning/2", "ce/1 matin/2"),
)
FUTURE_TIMES = (
    ("tomorrow", "demain"),
    ("tomorrow/1 evening/2", "demain/1 soir/2"),
    ("next/1 week/2", "la/3 semaine/2 prochaine/1"),
    ("next/1 month/2", "le/3 mois/2 prochain/1"),
    ("next/1 year/2", "l'année/2 prochaine/1"),
    ("this/1 evening/2", "ce/1 soir/2"),
)
HABIT_TIMES = (
    ("every/1 day/2", "tous/1 les/1 jours/2"),
    ("every/1 morning/2", "tous/1 les/1 matins/2"),
    ("every/1 week/2", "toutes/1 les/1 semaines/2"),
    ("in/1 the/2 evening/3", "le/1,2 soir/3"),
    ("in/1 winter/2", "en/1 hiver/2"),
    ("in/1 summer/2", "en/1 été/2"),
    ("in/1 spring/2", "au/1 printemps/2"),
)
NOW_TIMES = (("now", "maintenant"), ("today", "aujourd'hui"))
HABIT_ADVERBS = (("often", "souvent"), ("always", "toujours"), ("sometimes", "parfois"))
MANNERS = (("quickly", "rapidement"), ("slowly", "lentement"), ("well", "bien"))
WEATHER = (
    ("it/1 is/2 raining/3", "il/1 pleut/2,3"),
    ("it/1 is/2 snowing/3", "il/1 neige/2,3"),
    ("it/1 is/2 cold/3", "il/1 fait/2 froid/3"),
    ("it/1 is/2 hot/3", "il/1 fait/2 chaud/3"),
    ("it/1 is/2 late/3", "il/1 est/2 tard/3"),
)
LASTING = (
    "read",
    "write",
    "eat",
    "drink",
    "wash",
    "sing",
    "look for",
    "wait for",
    "sleep",
    "work",
    "dance",
    "swim",
    "laugh",
    "cry",
    "run",
    "build",
    "speak to",
    "look at",
    "listen to",
)
HABITUAL = (*LASTING, "help", "like", "know", "need", "have", "live", "visit", "go", "buy")
SUDDEN = ("lose", "forget", "find", "receive", "fall", "wake up", "cry", "need")
NEGATIONS = {"not": "pas", "never": "jamais", "no longer": "plus"}
CONTRACTIONS = {
    "does": "doesn't",
    "do": "don't",
    "did": "didn't",
    "is": "isn't",
    "are": "aren't",
    "was": "wasn't",
    "were": "weren't",
    "will": "won't",
    "has": "hasn't",
    "have": "haven't",
}

# --------------------------------------------------------------------------------------------------
# Constituents
# --------------------------------------------------------------------------------------------------


@dataclass(slots=True)
class NounPhrase:
    """A noun phrase, with the features that other words agree with."""

    en: Words
    fr: Words
    person: int
    gender: str = "m"
    lemma: str = ""
    pronoun: bool = False
    object_en: str = ""
    noun: Noun | None = None

    @property
    def plural(self) -> bool:
        """Whether it is grammatically plural (the polite "vous" counts as singular)."""
        return self.person in (NOUS, ILS)


@dataclass(slots=True)
class Predicate:
    """A verb with its tense, negation, adverb, pronouns and complements, not yet conjugated."""

    verb: Verb
    tense: str
    negation: str = ""
    adverb: tuple[str, str] | None = None
    en_after: Words = field(default_factory=list)
    fr_after: Words = field(default_factory=list)
    clitics: list[Word] = field(default_factory=list)
    agreement: NounPhrase | None = None
    key: int = 0
    particle_key: int = 0


@dataclass(slots=True)
class Conjugated:
    """A conjugated predicate: the English auxiliary apart, the French finite verb apart."""

    en_aux: Words
    en_rest: Words
    fr_before: Words
    fr_finite: Word
    fr_rest: Words


@dataclass(frozen=True, slots=True)
class Sentence:
    """A finished pair: two lines, their links, and the features used to split the sets."""

    source: str
    target: str
    links: tuple[tuple[int, int], ...]
    pairs: tuple[str, ...]
    structures: tuple[str, ...]


# English subject and object, French subject, person, gender.
PRONOUNS = (
    ("I", "me", "je", "me", "me", JE, "m"),
    ("he", "him", "il", "le", "lui", IL, "m"),
    ("she", "her", "elle", "la", "lui", IL, "f"),
    ("we", "us", "nous", "nous", "nous", NOUS, "m"),
    ("you", "you", "vous", "vous", "vous", VOUS, "m"),
    ("they", "them", "ils", "les", "leur", ILS, "m"),
)
POSSESSIVES = (
    ("my", JE, "mon", "ma", "mes"),
    ("his", IL, "son", "sa", "ses"),
    ("her", IL, "son", "sa", "ses"),
    ("our", NOUS, "notre", "notre", "nos"),
    ("your", VOUS, "votre", "votre", "vos"),
    ("their", ILS, "leur", "leur", "leurs"),
)
TENSES = ("present", "past", "future", "perfect", "progressive", "going to", "modal")
TENSE_WEIGHTS = (30, 27, 18, 8, 6, 4, 7)


T = TypeVar("T")
Lexeme = TypeVar("Lexeme", Noun, Adjective)


class Grammar:
    """Makes sentences by chance from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random
        self.uses: dict[str, int] = {}
        self.next_key = 0
        self.pairs: list[str] = []
        self.structures: list[str] = []
        self.alone = True

    # ---- chance ----

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random() < probability

    def pick(self, items: Sequence[T]) -> T:
        """One of the items, all alike."""
        return items[int(self.random() * len(items))]

    def weighted(self, items: Sequence[T], weights: Sequence[int]) -> T:
        """One of the items, by weight."""
        point = self.random() * sum(weights)
        for item, weight in zip(items, weights, strict=True):
            point -= weight
            if point < 0:
                return item
        return items[-1]

    def even(self, items: Sequence[Lexeme]) -> Lexeme:
        """One of the items, preferring the less used of two, so that all words are seen."""
        first, second = self.pick(items), self.pick(items)
        chosen = first if self.uses.get(first.en, 0) <= self.uses.get(second.en, 0) else second
        self.uses[chosen.en] = self.uses.get(chosen.en, 0) + 1
        return chosen

    def verb_of(self, verbs: Sequence[Verb]) -> Verb:
        """One of the verbs, preferring the less used of two."""
        first, second = self.pick(verbs), self.pick(verbs)
        first_uses = self.uses.get("to " + first.name, 0)
        second_uses = self.uses.get("to " + second.name, 0)
        chosen = first if first_uses <= second_uses else second
        self.uses["to " + chosen.name] = min(first_uses, second_uses) + 1
        return chosen

    # ---- words ----

    def key(self) -> int:
        """A fresh link key."""
        self.next_key += 1
        return self.next_key

    def unit(self, pair: tuple[str, str]) -> tuple[Words, Words]:
        """The words of an English and a French phrase, linked as the phrase's numbers say."""
        base = self.next_key + 1
        self.next_key += 10
        return self.side(pair[0], base), self.side(pair[1], base)

    @staticmethod
    def side(text: str, base: int) -> Words:
        """The words of one side, with keys counted from ``base``."""
        return [
            Word(word, tuple(base + number for number in numbers), kind)
            for word, numbers, kind in parse_phrase(text)
        ]

    # ---- noun phrases ----

    def pronoun(self, index: int, gender: str = "") -> NounPhrase:
        """A subject pronoun."""
        en, object_en, fr, _, _, person, own = PRONOUNS[index]
        if gender == "f" and fr == "ils":
            fr, own = "elles", "f"
        key = self.key()
        return NounPhrase([Word(en, (key,))], [Word(fr, (key,))], person, own, en, True, object_en)

    def referring(self, subject: NounPhrase) -> NounPhrase:
        """A pronoun for someone named before in the sentence."""
        if subject.pronoun:
            names = [row[0] for row in PRONOUNS]
            return self.pronoun(names.index(subject.lemma), subject.gender)
        if subject.plural:
            return self.pronoun(5, subject.gender)
        return self.pronoun(2 if subject.gender == "f" else 1)

    def name(self) -> NounPhrase:
        """A person's name."""
        name, gender = self.pick(PEOPLE)
        key = self.key()
        return NounPhrase([Word(name, (key,))], [Word(name, (key,))], IL, gender, name)

    def institution(self) -> NounPhrase:
        """A named institution."""
        en, fr, gender, plural = self.pick(INSTITUTIONS)
        words = self.unit((en, fr))
        return NounPhrase(*words, ILS if plural else IL, gender, "institution")

    def determiner(self, noun: Noun, kind: str, plural: bool) -> tuple[Words, Words]:
        """The determiner of a noun; the French one agrees with it."""
        key = self.key()
        feminine = noun.gender == "f"
        number = 2 if plural else feminine
        match kind:
            case "the":
                en, fr = "the", ("le", "la", "les")[number]
                return [Word(en, (key,))], [Word(fr, (key,), "art")]
            case "a":
                return [Word("a", (key,))], [Word(("un", "une")[feminine], (key,))]
            case "some" if plural:
                return [Word("some", (key,))], [Word("des", (key,), "some")]
            case "some":
                article = Word(("le", "la")[feminine], (key,), "art")
                return [Word("some", (key,))], [Word("de", (key,)), article]
            case "any" | "not a":
                return [Word(kind.split()[-1], (key,))], [Word("de", (key,))]
            case "this":
                en = "these" if plural else "this"
                return [Word(en, (key,))], [Word(("ce", "cette", "ces")[number], (key,), "det")]
            case "each":
                return [Word("each", (key,))], [Word("chaque", (key,))]
            case "many":
                return [Word("many", (key,))], [Word("beaucoup", (key,)), Word("de", (key,))]
            case "several":
                return [Word("several", (key,))], [Word("plusieurs", (key,))]
            case "all the":
                article_key = self.key()
                tous = "toutes" if feminine else "tous"
                return (
                    [Word("all", (key,)), Word("the", (article_key,))],
                    [Word(tous, (key,)), Word("les", (article_key,))],
                )
            case "number":
                return self.unit(self.pick(NUMBERS))
        _, _, *forms = next(row for row in POSSESSIVES if row[0] == kind)
        return [Word(kind, (key,))], [Word(forms[number], (key,), "det")]

    def determiner_kind(self, noun: Noun, plural: bool, role: str, owner: str) -> str:
        """Choose a determiner that makes sense."""
        ownable = (
            noun.cls not in ("human", "politics", "food", "drink", "place") or noun.en in OWNABLE
        )
        if noun in RELATIVES or (owner and ownable and self.chance(0.25)):
            return owner or self.pick(POSSESSIVES)[0]
        negated = role == "negated object"
        point = self.random()
        if negated and noun.cls == "human":
            return "the"
        if role == "possession" and not noun.mass:
            return self.pick(("some", "many", "several", "number")) if plural else "a"
        if noun.mass:
            return "the" if point < 0.45 else "any" if negated else "some"
        if plural:
            if point < 0.5:
                return "the"
            if point < 0.62:
                return "this"
            if negated:
                return "any"
            if role == "subject":
                return "several" if point < 0.72 else "all the" if point < 0.86 else "number"
            kinds = ("some", "some", "many", "several", "number", "number", "all the")
            return self.pick(kinds)
        if point < 0.5:
            return "the"
        if point < 0.62:
            return "this"
        if role == "subject":
            return "a" if point < 0.85 else "the" if point < 0.95 else "each"
        return "not a" if negated else "a"

    def noun_phrase(
        self,
        nouns: Sequence[Noun],
        role: str = "object",
        owner: str = "",
        number: str = "any",
        bare: bool = False,
    ) -> NounPhrase:
        """A noun with its determiner and perhaps adjectives or a possessor."""
        noun = self.even(nouns)
        often = 0.55 if noun.cls == "food" else 0.3
        plural = not noun.mass and (self.chance(often) if number == "any" else number == "plural")
        plural = plural and noun.en not in ("mother", "father")
        kind = "the" if bare else self.determiner_kind(noun, plural, role, owner)
        ownable = kind not in ("all the", "each") and noun.cls in ("thing", "readable")
        if ownable and not bare and role != "negated object" and self.chance(0.1):
            return self.possessed(noun, plural)
        en_det, fr_det = self.determiner(noun, kind, plural)
        en, fr = self.modified(noun, plural, 0.42)
        if fr_det[0].kind == "some" and fr[0].kind == "pre plural":
            fr_det = [fr_det[0]._replace(text="de")]
        person = ILS if plural else IL
        return NounPhrase(en_det + en, fr_det + fr, person, noun.gender, noun.en, noun=noun)

    def modified(self, noun: Noun, plural: bool, probability: float) -> tuple[Words, Words]:
        """A noun with adjectives: before it in English, on both sides in French."""
        key = self.key()
        en = [Word(word, (key,)) for word in noun.english(plural).split()]
        fr = [Word(word, (key,)) for word in noun.french(plural).split()]
        point = self.random()
        if point < probability:
            if point < 0.6 * probability:
                self.add_adjective(noun, plural, False, en, fr)
            if point > 0.5 * probability:
                self.add_adjective(noun, plural, True, en, fr)
        return en, fr

    def add_adjective(self, noun: Noun, plural: bool, before: bool, en: Words, fr: Words) -> None:
        """Put an adjective into the words of a noun."""
        choices = adjectives_for(noun, before)
        if not choices:
            return
        adjective = self.even(choices)
        key = self.key()
        self.pairs.append(f"{adjective.en} {noun.en}")
        en.insert(0, Word(adjective.en, (key,)))
        words = adjective.french(noun.gender, plural).split()
        kind = "" if not before else "pre plural" if plural else "pre"
        linked = [Word(word, (key,), kind) for word in words]
        if before:
            fr[:0] = linked
        else:
            fr.extend(linked)

    def possessed(self, noun: Noun, plural: bool) -> NounPhrase:
        """The possessor comes first in English and last in French: the doctor's car."""
        if self.chance(0.5):
            owner = self.name()
        else:
            owner = self.noun_phrase(HUMANS, number="singular", bare=True)
        key = self.key()
        en, fr = self.modified(noun, plural, 0.3)
        article = self.determiner(noun, "the", plural)[1][0]._replace(keys=())
        self.structures.append("possessor")
        return NounPhrase(
            [*owner.en, Word("'s", (key,), "glue"), *en],
            [article, *fr, Word("de", (key,)), *owner.fr],
            ILS if plural else IL,
            noun.gender,
            noun.en,
            noun=noun,
        )

    def subject(self, kinds: str = "pronoun name noun") -> NounPhrase:
        """A human subject."""
        kind = self.weighted(("pronoun", "name", "noun", "two"), (30, 14, 52, 4))
        if kind not in kinds and kind != "two":
            kind = "noun" if "noun" in kinds else "pronoun"
        if kind == "pronoun":
            return self.pronoun(self.weighted(range(6), (5, 5, 5, 4, 4, 4)))
        if kind == "name":
            return self.name()
        if kind == "two":
            return self.couple()
        return self.noun_phrase(FOLK, "subject")

    def couple(self) -> NounPhrase:
        """Two people: Paul and Marie."""
        first, second = self.name(), self.name()
        while second.lemma == first.lemma:
            second = self.name()
        en, fr = self.unit(("and", "et"))
        gender = "f" if first.gender == second.gender == "f" else "m"
        return NounPhrase(
            first.en + en + second.en, first.fr + fr + second.fr, ILS, gender, "couple"
        )

    def owner_of(self, subject: NounPhrase) -> str:
        """The possessive that refers to the subject."""
        if subject.pronoun:
            return dict(
                zip(
                    ("I", "he", "she", "we", "you", "they"),
                    ("my", "his", "her", "our", "your", "their"),
                    strict=True,
                )
            )[subject.lemma]
        return "their" if subject.plural else "her" if subject.gender == "f" else "his"

    # ---- adverbial phrases ----

    def time(self, tense: str) -> tuple[Words, Words]:
        """A time that suits the tense."""
        if tense in ("past", "future") and self.chance(0.45):
            return self.date()
        if tense == "past":
            return self.unit(self.pick(PAST_TIMES))
        if tense in ("future", "going to"):
            return self.unit(self.pick(FUTURE_TIMES))
        if tense == "progressive":
            return self.unit(self.pick(NOW_TIMES))
        if tense == "present" and self.chance(0.25):
            en, fr = self.pick(DAYS)
            return self.unit((f"on/1 {en}s/2", f"le/1,2 {fr}/2"))
        return self.unit(self.pick(HABIT_TIMES))

    def date(self) -> tuple[Words, Words]:
        """A day, a month, a date, a year or an hour."""
        match self.weighted(("day", "month", "date", "hour"), (4, 4, 2, 3)):
            case "day":
                en, fr = self.pick(DAYS)
                return self.unit((f"on/1 {en}/2", f"{fr}/2"))
            case "month":
                en, fr = self.pick(MONTHS)
                return self.unit((f"in/1 {en}/2", f"en/1 {fr}/2"))
            case "date":
                en, fr = self.pick(MONTHS)
                day = self.pick(DATES)
                return self.unit((f"on/1 {day}/2 {en}/3", f"le/1 {day}/2 {fr}/3"))
        en, fr = self.pick(HOURS)
        return self.unit((f"at/1 {en}/2 o'clock/3", f"à/1 {fr}/2 heures/3"))

    def location(
        self, motion: bool = False, owner: str = "", far: bool = True
    ) -> tuple[Words, Words]:
        """A place where someone is or goes; only ``far`` ones may be towns and countries."""
        point = self.random() if far else 0.34 + 0.66 * self.random()
        if point < 0.17:
            city_en, city_fr = self.pick(CITIES)
            return self.unit((f"{'to' if motion else 'in'}/1 {city_en}/2", f"à/1 {city_fr}/2"))
        if point < 0.34:
            english, _, french = self.pick(COUNTRIES)
            return self.unit((f"{'to' if motion else 'in'}/1 {english}", french))
        if not motion and point < 0.48:
            pair = self.pick(
                (
                    ("near", "près de"),
                    ("behind", "derrière"),
                    ("in front of", "devant"),
                    ("next to", "à côté de"),
                )
            )
            location = self.noun_phrase(PLACES + BRIDGES, number="singular", bare=True)
        else:
            location = self.noun_phrase(
                SITES if motion else PLACES, number="singular", bare=self.chance(0.8), owner=owner
            )
            at = location.noun.at if location.noun else "in"
            pair = ("to", "à") if motion else ("at", "à") if at == "at" else ("in", "dans")
        en, fr = self.unit(pair)
        return en + location.en, fr + location.fr

    def home(self) -> tuple[Words, Words]:
        """Where people live."""
        if self.chance(0.5):
            city_en, city_fr = self.pick(CITIES)
            return self.unit((f"in/1 {city_en}/2", f"à/1 {city_fr}/2"))
        location = self.noun_phrase(named("house, village, town, street"), number="singular")
        en, fr = self.unit(("in", "dans"))
        return en + location.en, fr + location.fr

    def company(self, owner: str) -> tuple[Words, Words]:
        """With someone."""
        en, fr = self.unit(self.pick((("with", "avec"), ("without", "sans"))))
        companion = self.noun_phrase(RELATIVES, owner=owner or "the")
        return en + companion.en, fr + companion.fr

    # ---- verbs ----

    def predicate(self, verb: Verb, tense: str, negation: str = "") -> Predicate:
        """A predicate that has its verb only."""
        key = self.key()
        particle = self.key() if verb.particle and verb.preposition else key
        return Predicate(verb, tense, negation, key=key, particle_key=particle)

    @staticmethod
    def english_verb(
        verb: Verb, tense: str, who: NounPhrase, support: bool
    ) -> tuple[str, str, str]:
        """The English auxiliary, the words that come before the main verb, and the main verb."""
        third, first = who.person == IL, who.lemma == "I"
        be = "am" if first else "is" if third else "are"
        have = "has" if third else "have"
        main = {"past": verb.past}.get(tense, verb.third if third else verb.en)
        match tense:
            case "present" | "past" | "subjunctive" if verb.en == "be":
                was = "was" if third or first else "were"
                return (was if tense == "past" else be), "", ""
            case "present" | "past":
                if support:
                    return ("did" if tense == "past" else "does" if third else "do"), "", verb.en
                return "", "", main
            case "perfect":
                return have, "", verb.participle
            case "progressive":
                return be, "", verb.ing
            case "was -ing":
                return ("was" if third or first else "were"), "", verb.ing
            case "going to":
                return be, "going to", verb.en
            case "want" if support:
                return ("does" if third else "do"), "want to", verb.en
            case "want":
                return "", ("wants to" if third else "want to"), verb.en
            case "would":
                return "would", "like to", verb.en
        return ("will" if tense == "future" else tense), "", verb.en

    @staticmethod
    def french_verb(predicate: Predicate, who: NounPhrase) -> tuple[str, str, bool]:
        """The French finite form, the participle or infinitive, and whether it is an infinitive."""
        verb, tense, person = predicate.verb, predicate.tense, who.person
        if tense in MODALS:
            return MODALS[tense][person], verb.fr.infinitive, True
        if tense == "subjunctive":
            return SUBJUNCTIVES[verb.fr.infinitive][person], "", False
        if tense == "future":
            return verb.fr.future(person), "", False
        if tense == "was -ing" or (tense == "past" and verb.stative):
            return verb.fr.imperfect(person), "", False
        if tense in ("past", "perfect"):
            helper = ETRE if verb.fr.etre else AVOIR
            agree = who if verb.fr.etre else predicate.agreement
            participle = (
                verb.fr.agreeing(agree.gender, agree.plural) if agree else verb.fr.participle
            )
            return helper.present[person], participle, False
        return verb.fr.present[person], "", False

    def conjugate(
        self, predicate: Predicate, who: NounPhrase, question: bool = False, be: str = ""
    ) -> Conjugated:
        """Conjugate a predicate for its subject on both sides."""
        verb, negation = predicate.verb, predicate.negation
        aux_key, neg_key, adverb_key = self.key(), self.key(), self.key()
        support = question or negation == "not"
        english = BE if be else verb
        aux, middle, main = self.english_verb(english, predicate.tense, who, support)
        contracted = CONTRACTIONS.get(aux, "")
        en_aux: Words = []
        en_rest: Words = []
        if aux == "can" and negation == "not":
            en_aux.append(Word("cannot", (aux_key, neg_key)))
        elif contracted and negation == "not" and not question and self.chance(0.5):
            en_aux.append(Word(contracted, (aux_key, neg_key)))
        else:
            if aux:
                en_aux.append(Word(aux, (aux_key,)))
            en_rest.extend(Word(word, (neg_key,)) for word in negation.split())
        if predicate.adverb:
            en_rest.append(Word(predicate.adverb[0], (adverb_key,)))
        en_rest.extend(Word(word, (aux_key,)) for word in middle.split())
        main_keys = (predicate.key,) if aux or middle else (aux_key, predicate.key)
        if main:
            en_rest.append(Word(main, main_keys))
        if verb.particle:
            en_rest.append(Word(verb.particle, (predicate.particle_key,)))

        finite, tail, infinitive = self.french_verb(predicate, who)
        keys = (aux_key,) if tail else (aux_key, predicate.key)
        clitics = self.ordered_clitics(predicate, who)
        before = [Word("ne", (neg_key,))] if negation else []
        after_verb = [Word(NEGATIONS[negation], (neg_key,))] if negation else []
        if predicate.adverb:
            after_verb.append(Word(predicate.adverb[1], (adverb_key,)))
        if infinitive:
            after_verb.extend(clitics)
        else:
            before.extend(clitics)
        if tail:
            after_verb.append(Word(tail, (predicate.key,)))
        if verb.extra:
            after_verb.append(Word(verb.extra, (predicate.key,)))
        return Conjugated(en_aux, en_rest, before, Word(finite, keys), after_verb)

    @staticmethod
    def ordered_clitics(predicate: Predicate, who: NounPhrase) -> Words:
        """The French object pronouns in their order, the reflexive first."""
        clitics = list(predicate.clitics)
        if predicate.verb.reflexive:
            reflexive = ("me", "se", "nous", "vous", "se")[who.person]
            clitics.append(Word(reflexive, (predicate.key,)))
        ranks = {"le": 1, "la": 1, "les": 1, "lui": 2, "leur": 2}
        return sorted(clitics, key=lambda word: ranks.get(word.text, 0))

    def statement(self, who: NounPhrase, predicate: Predicate, be: str = "") -> tuple[Words, Words]:
        """A clause in the order of a statement."""
        verb = self.conjugate(predicate, who, be=be)
        en = who.en + verb.en_aux + verb.en_rest + predicate.en_after
        fr = who.fr + verb.fr_before + [verb.fr_finite] + verb.fr_rest + predicate.fr_after
        return en, fr

    def infinitive(self, predicate: Predicate, who: NounPhrase, ing: bool) -> tuple[Words, Words]:
        """An infinitive phrase, in English perhaps with -ing."""
        verb = predicate.verb
        en = [Word(verb.ing if ing else verb.en, (predicate.key,))]
        if verb.particle:
            en.append(Word(verb.particle, (predicate.particle_key,)))
        fr = self.ordered_clitics(predicate, who)
        fr.append(Word(verb.fr.infinitive, (predicate.key,)))
        if verb.extra:
            fr.append(Word(verb.extra, (predicate.key,)))
        return en + predicate.en_after, fr + predicate.fr_after

    # ---- complements ----

    @staticmethod
    def add(predicate: Predicate, words: tuple[Words, Words]) -> None:
        """Put a phrase after the verb."""
        predicate.en_after = predicate.en_after + words[0]
        predicate.fr_after = predicate.fr_after + words[1]

    def object_pronoun(self, who: NounPhrase, human: bool) -> int:
        """Choose an object pronoun that is not the subject; -1 is "it"."""
        if not human:
            return self.pick((-1, -1, 5))
        barred = {"I": (0, 3), "we": (0, 3), "you": (4,)}.get(who.lemma, ())
        return self.pick([index for index in range(6) if index not in barred])

    def add_pronoun(self, predicate: Predicate, index: int, indirect: bool = False) -> None:
        """An object pronoun: after the English verb, before the French one."""
        key = self.key()
        if index < 0:
            row: tuple[Any, ...] = ("it", "it", "", "le", "", IL, "m")
        else:
            row = PRONOUNS[index]
        predicate.en_after = [*predicate.en_after, Word(row[1], (key,))]
        predicate.clitics.append(Word(row[4 if indirect else 3], (key,)))
        if not indirect:
            predicate.agreement = NounPhrase([], [], row[5], row[6])

    def add_object(self, predicate: Predicate, who: NounPhrase, depth: int, pronoun: float) -> None:
        """The direct or prepositional object of a verb."""
        verb = predicate.verb
        nouns = verb.objects
        indirect = verb.preposition == "à"
        human = nouns[0].cls == "human"
        if verb.preposition != "de" and (human or self.alone) and self.chance(pronoun):
            self.add_pronoun(predicate, self.object_pronoun(who, human), indirect)
            self.note(predicate, "pronoun")
            return
        if verb.en == "have" and not predicate.negation:
            role = "possession"
        elif verb.preposition:
            predicate.fr_after = [Word(verb.preposition, (predicate.particle_key,))]
            role = "subject"
        else:
            role = "negated object" if predicate.negation else "object"
        phrase = self.noun_phrase(nouns, role, self.owner_of(who))
        self.pairs.append(f"{verb.name} {phrase.lemma}")
        owners = {"'s", *(row[0] for row in POSSESSIVES)}
        owned = any(word.text in owners for word in phrase.en)
        vague = predicate.negation and phrase.en[0].text in ("a", "any")
        if depth > 0 and not owned and not vague and self.chance(0.5):
            phrase = self.with_relative(phrase, depth - 1)
        self.add(predicate, (phrase.en, phrase.fr))
        self.note(predicate, "object")

    def add_two_objects(self, predicate: Predicate, who: NounPhrase) -> None:
        """The objects of a verb of giving, in one of five English patterns."""
        verb = predicate.verb
        patterns = ("to", "double", "him it", "it to him", "it to")
        pattern = self.weighted(patterns, (5, 4, 5, 4, 2) if self.alone else (5, 4, 5, 0, 0))
        role = "negated object" if predicate.negation else "object"
        person = self.object_pronoun(who, human=True)
        if pattern in ("to", "double", "him it"):
            gift = self.noun_phrase(verb.objects, role, self.owner_of(who))
            self.pairs.append(f"{verb.name} {gift.lemma}")
        self.note(predicate, pattern)
        if pattern == "him it":
            self.add_pronoun(predicate, person, indirect=True)
            self.add(predicate, (gift.en, gift.fr))
            return
        en_to, fr_to = self.unit(("to", "à"))
        if pattern.startswith("it to"):
            self.add_pronoun(predicate, self.pick((-1, 5)))
            if pattern == "it to him":
                predicate.en_after = predicate.en_after + en_to
                self.add_pronoun_after_to(predicate, person, fr_to)
                return
        receiver = self.noun_phrase(FOLK, "subject", self.owner_of(who))
        if pattern == "double":
            self.add(predicate, (receiver.en + gift.en, gift.fr + fr_to + receiver.fr))
        elif pattern == "to":
            self.add(predicate, (gift.en + en_to + receiver.en, gift.fr + fr_to + receiver.fr))
        else:
            self.add(predicate, (en_to + receiver.en, fr_to + receiver.fr))

    def add_pronoun_after_to(self, predicate: Predicate, index: int, fr_to: Words) -> None:
        """Add the receiver in "to him"; its "to" is linked to the French pronoun too."""
        self.add_pronoun_keeping_agreement(predicate, index)
        last = predicate.clitics[-1]
        predicate.clitics[-1] = last._replace(keys=last.keys + fr_to[0].keys)

    def add_pronoun_keeping_agreement(self, predicate: Predicate, index: int) -> None:
        """An indirect pronoun; the participle goes on agreeing with the direct one."""
        agreement = predicate.agreement
        self.add_pronoun(predicate, index, indirect=True)
        predicate.agreement = agreement

    def note(self, predicate: Predicate, what: str) -> None:
        """Remember the combination of structures for the split of the sets."""
        self.structures.append(f"{predicate.tense}, {predicate.negation or 'affirmed'}, {what}")

    def adverb_for(self, predicate: Predicate) -> None:
        """Perhaps put an adverb between the auxiliary and the verb."""
        if predicate.negation or predicate.verb.en in ("be", "live", "have", "need"):
            return
        if predicate.tense == "perfect":
            if self.chance(0.5):
                predicate.adverb = ("already", "déjà")
        elif predicate.tense == "present" and self.chance(0.16):
            predicate.adverb = self.pick(HABIT_ADVERBS)

    # ---- predicates by kind ----

    def tense(self, stative: bool = False) -> str:
        """A tense by chance."""
        tense = self.weighted(TENSES, TENSE_WEIGHTS)
        if tense == "modal":
            return self.pick(("want", "can", "must", "would"))
        if stative and tense in ("perfect", "progressive", "going to"):
            return "present"
        return tense

    def negation(self, tense: str) -> str:
        """A negation that suits the tense, or none."""
        if not self.chance(0.2):
            return ""
        if tense in ("present", "future"):
            return self.weighted(("not", "never", "no longer"), (50, 27, 23))
        if tense == "perfect":
            return "never"
        return "not"

    def any_predicate(
        self, who: NounPhrase, tense: str = "", depth: int = 0, plain: bool = False
    ) -> tuple[Predicate, str]:
        """A predicate for a human subject, and ``be`` when English says it with that verb."""
        kinds = ("transitive", "two", "indirect", "motion", "activity", "arrival", "state")
        weights = (46, 10, 6, 9, 10, 7, 0 if tense in ("perfect", "progressive") else 10)
        kind = self.weighted(kinds, weights)
        if kind == "state":
            return self.state(who, tense)
        predicate = self.action(who, kind, tense, depth, plain)
        return predicate, ""

    def action(
        self, who: NounPhrase, kind: str, tense: str = "", depth: int = 0, plain: bool = False
    ) -> Predicate:
        """A predicate with a verb other than "be"."""
        table = {
            "transitive": TRANSITIVE,
            "two": DITRANSITIVE,
            "indirect": INDIRECT,
            "motion": MOTION,
            "activity": ACTIVITIES,
            "arrival": ARRIVALS,
        }
        verb = self.verb_of(table[kind])
        tense = tense or self.tense(verb.stative)
        while verb.stative and tense in ("perfect", "progressive", "was -ing", "going to"):
            verb = self.verb_of(table[kind])
        while (tense == "progressive" and verb.name not in LASTING) or (
            tense in MODALS and (verb.stative or verb.name in SUDDEN)
        ):
            tense = self.tense(verb.stative)
        is_universal = any(word.text in ("all", "each") for word in who.en[:1])
        negation = "" if plain or is_universal else self.negation(tense)
        if negation == "no longer" and verb.name not in HABITUAL:
            negation = "not"
        if verb.en == "read" and tense == "past" and who.person != IL and not negation:
            negation = "not"
        if verb.name == "have" and negation:
            negation = "not" if negation == "never" else negation
        predicate = self.predicate(verb, tense, negation)
        if not plain:
            self.adverb_for(predicate)
        owner = self.owner_of(who)
        if kind == "two":
            self.add_two_objects(predicate, who)
        elif kind in ("transitive", "indirect"):
            self.add_object(predicate, who, depth, 0.0 if plain and depth else 0.22)
        elif kind == "motion":
            self.add(predicate, self.location(motion=True, owner=owner))
        elif verb.en == "live":
            self.add(predicate, self.home())
        elif kind == "activity" and self.chance(0.6):
            self.add(predicate, self.location(owner=owner))
        if not plain:
            self.add_adjuncts(predicate, who, kind)
        return predicate

    def add_adjuncts(self, predicate: Predicate, who: NounPhrase, kind: str) -> None:
        """Perhaps a companion, a purpose and a time."""
        verb, owner = predicate.verb, self.owner_of(who)
        moving = kind in ("motion", "activity", "arrival") and not verb.reflexive
        if moving and verb.en not in ("live", "fall") and self.chance(0.18):
            self.add(predicate, self.company(owner))
        elif kind == "motion" and self.chance(0.3):
            self.add(predicate, self.purpose(who, ("to", "pour"), ing=False))
        elif kind in ("motion", "arrival") and not predicate.negation and self.chance(0.3):
            pair = self.pick((("without", "sans"), ("before", "avant de")))
            self.add(predicate, self.purpose(who, pair, ing=True))
        if not verb.stative and self.chance(0.33):
            if predicate.tense in ("past", "future", "going to", "progressive"):
                self.add(predicate, self.time(predicate.tense))
            elif (predicate.tense == "present" and not predicate.adverb) and (
                predicate.negation in ("", "no longer") or self.chance(0.3)
            ):
                self.add(predicate, self.time("present"))

    def purpose(self, who: NounPhrase, pair: tuple[str, str], ing: bool) -> tuple[Words, Words]:
        """To buy some bread, without reading the letter."""
        verb = self.verb_of(TRANSITIVE + DITRANSITIVE)
        while verb.stative or (verb.name in SUDDEN) or (ing and verb.name not in LASTING):
            verb = self.verb_of(TRANSITIVE + DITRANSITIVE)
        predicate = self.predicate(verb, "infinitive")
        if verb in DITRANSITIVE:
            self.add_two_objects(predicate, who)
        else:
            self.add_object(predicate, who, 0, 0.2 if verb.objects[0].cls == "human" else 0.0)
        en, fr = self.infinitive(predicate, who, ing)
        en_link, fr_link = self.unit(pair)
        return en_link + en, fr_link + fr

    def state(self, who: NounPhrase, tense: str = "", brief: bool = False) -> tuple[Predicate, str]:
        """To be tired, to be hungry, to be rich, to be twenty years old."""
        if tense not in ("present", "past", "future", "subjunctive"):
            tense = self.weighted(("present", "past", "future"), (5, 3, 2))
        negation = ""
        if tense != "subjunctive" and self.chance(0.2):
            negation = self.pick(("not", "never", "no longer"))
            negation = "not" if brief or tense == "past" else negation
        kind = self.weighted(("sensation", "temporary", "lasting", "age"), (9, 8, 6, 2))
        if kind == "age" and tense in ("present", "past") and not brief:
            predicate = self.predicate(Verb(*english_forms("be"), AVOIR, stative=True), tense)
            en, fr = self.pick(AGES)
            self.add(predicate, self.unit((f"{en}/1 years/2 old/2", f"{fr}/1 ans/2")))
            return predicate, "be"
        if kind == "sensation":
            predicate = self.predicate(
                Verb(*english_forms("be"), AVOIR, stative=True), tense, negation
            )
            self.add(predicate, self.unit(self.pick(SENSATIONS)))
            return predicate, "be"
        predicate = self.predicate(BE, tense, negation)
        choices = [
            a
            for a in ADJECTIVES
            if "human" in a.classes and a.predicate and a.en not in NATIONALITIES
        ]
        adjective = self.even(TEMPORARY if kind != "lasting" else choices)
        self.add_adjective_after(predicate, adjective, who)
        return predicate, "be"

    def add_adjective_after(
        self, predicate: Predicate, adjective: Adjective, who: NounPhrase
    ) -> None:
        """A predicative adjective, which agrees with the subject."""
        self.pairs.append(f"{who.lemma} is {adjective.en}")
        self.add(predicate, self.unit((adjective.en, adjective.french(who.gender, who.plural))))

    # ---- relative clauses ----

    def with_relative(self, phrase: NounPhrase, depth: int = 0) -> NounPhrase:
        """Add a relative clause to a noun phrase."""
        noun = phrase.noun
        if noun is None:
            return phrase
        if noun.cls == "human":
            kind = self.weighted(("who", "whose", "whom"), (5, 2, 2))
        elif noun.cls == "place":
            kind = "where"
        elif noun.cls in ("thing", "readable"):
            kind = self.weighted(("that", "need"), (6, 2))
        else:
            kind = "that"
        makers = {
            "who": self.who_clause,
            "whose": self.whose_clause,
            "where": self.where_clause,
            "need": self.dont_clause,
        }
        clause = makers.get(kind, self.that_clause)(phrase, depth)
        self.structures.append(f"relative {kind}")
        return NounPhrase(
            phrase.en + clause[0],
            phrase.fr + clause[1],
            phrase.person,
            phrase.gender,
            phrase.lemma,
            noun=noun,
        )

    def who_clause(self, phrase: NounPhrase, depth: int) -> tuple[Words, Words]:
        """... who reads the book."""
        en, fr = self.unit(("who", "qui"))
        gap = NounPhrase([], [], phrase.person, phrase.gender, phrase.lemma)
        tense = self.weighted(("present", "past", "future"), (5, 4, 1))
        predicate, be = self.any_predicate(gap, tense, depth, plain=True)
        clause = self.statement(gap, predicate, be)
        return en + clause[0], fr + clause[1]

    def short_subject(self) -> NounPhrase:
        """The subject of an object relative clause."""
        if self.chance(0.6):
            return self.pronoun(self.weighted(range(5), (5, 5, 5, 4, 4)))
        return self.name() if self.chance(0.6) else self.noun_phrase(HUMANS, bare=True)

    def that_clause(self, phrase: NounPhrase, depth: int) -> tuple[Words, Words]:
        """... that she bought; the participle agrees with the thing."""
        noun = phrase.noun
        verbs = [v for v in TRANSITIVE if noun in v.objects and not v.preposition]
        tense = self.weighted(("past", "present", "future"), (6, 3, 1))
        who = self.short_subject()
        if tense == "past" and who.person != IL:
            verbs = [v for v in verbs if v.en != "read"]
        verb = self.verb_of(verbs)
        predicate = self.predicate(verb, tense)
        predicate.agreement = phrase
        self.pairs.append(f"{verb.name} {phrase.lemma}")
        en, fr = self.unit(("that", "que"))
        clause = self.statement(who, predicate)
        return en + clause[0], fr + clause[1]

    def dont_clause(self, phrase: NounPhrase, depth: int) -> tuple[Words, Words]:
        """... that you need: dont vous avez besoin."""
        need = next(verb for verb in TRANSITIVE if verb.en == "need")
        tense = self.weighted(("present", "past", "future"), (5, 3, 2))
        en, fr = self.unit(("that", "dont"))
        clause = self.statement(self.short_subject(), self.predicate(need, tense))
        return en + clause[0], fr + clause[1]

    def whose_clause(self, phrase: NounPhrase, depth: int) -> tuple[Words, Words]:
        """... whose brother is ill: dont le frère est malade."""
        noun = self.even(RELATIVES + THINGS[:2])
        key = self.key()
        fr_head = self.determiner(noun, "the", False)[1][0]._replace(keys=())
        en, fr = self.unit(("whose", "dont"))
        head = NounPhrase(
            [*en, *(Word(word, (key,)) for word in noun.en.split())],
            [*fr, fr_head, *(Word(word, (key,)) for word in noun.fr.split())],
            IL,
            noun.gender,
            noun.en,
            noun=noun,
        )
        if noun.cls == "thing":
            return self.statement(*self.quality(head))
        predicate, be = self.state(head, self.pick(("present", "past")), brief=True)
        return self.statement(head, predicate, be)

    def where_clause(self, phrase: NounPhrase, depth: int) -> tuple[Words, Words]:
        """... where they work."""
        verbs = [v for v in ACTIVITIES if v.en not in ("fall", "cry")]
        en, fr = self.unit(("where", "où"))
        tense = self.weighted(("present", "past"), (3, 2))
        clause = self.statement(self.short_subject(), self.predicate(self.verb_of(verbs), tense))
        return en + clause[0], fr + clause[1]

    def quality(self, phrase: NounPhrase) -> tuple[NounPhrase, Predicate, str]:
        """A thing with a predicative adjective."""
        noun = phrase.noun
        assert noun is not None
        choices = [
            a for before in (True, False) for a in adjectives_for(noun, before) if a.predicate
        ]
        said = [word.text for word in phrase.en]
        for group in (SIZES, COLOURS, NATIONALITIES):
            if any(word in said for word in group):
                said.extend(group)
        choices = [a for a in choices if a.en not in said] or choices
        tense = self.weighted(("present", "past"), (6, 3))
        negation = self.pick(("not", "no longer")) if self.chance(0.15) else ""
        predicate = self.predicate(BE, tense, "not" if negation and tense == "past" else negation)
        self.add_adjective_after(predicate, self.even(choices), phrase)
        return phrase, predicate, "be"

    # ---- sentences ----

    def full_subject(self, depth: int = 0) -> NounPhrase:
        """A subject, perhaps with a relative clause."""
        who = self.subject()
        owned = any(word.text == "'s" for word in who.en)
        if who.noun and who.noun not in RELATIVES and not owned and self.chance(0.3 * depth):
            return self.with_relative(who)
        return who

    def simple(self, depth: int = 0) -> tuple[Words, Words]:
        """Someone does something."""
        who = self.full_subject(depth)
        predicate, be = self.any_predicate(who, depth=depth)
        en, fr = self.statement(who, predicate, be)
        if not be and not predicate.en_after[-1:] and self.chance(0.3):
            return en, fr
        untimed = not be and not predicate.verb.stative and predicate.tense in ("past", "future")
        if untimed and self.chance(0.12) and not self.has_time(en):
            time = self.time(predicate.tense)
            comma = [Word(",", (), "glue")]
            return time[0] + comma + en, time[1] + comma + fr
        return en, fr

    @staticmethod
    def has_time(words: Words) -> bool:
        """Whether a time has been said already."""
        times = ("yesterday", "tomorrow", "last", "next", "evening", "morning", "in", "on", "at")
        return any(word.text in times for word in words)

    def thing_state(self, depth: int = 0) -> tuple[Words, Words]:
        """A thing is somehow or somewhere."""
        phrase = self.noun_phrase(
            THINGS + READABLES + SONGS + FOODS + PLACES + PARTS, "subject", bare=self.chance(0.5)
        )
        noun = phrase.noun
        assert noun is not None
        owned = any(word.text == "'s" for word in phrase.en)
        if not owned and self.chance(0.7 if depth else 0.25):
            phrase = self.with_relative(phrase)
        if noun.cls in ("thing", "readable") and self.chance(0.35):
            predicate = self.predicate(BE, self.weighted(("present", "past"), (2, 1)))
            self.add(predicate, self.spot())
            return self.statement(phrase, predicate, "be")
        choices = [
            a for b in (True, False) for a in adjectives_for(noun, b) if a.predicate and a.more
        ]
        said = [word.text for word in phrase.en]
        choices = [a for a in choices if a.en not in said]
        if choices and self.chance(0.25):
            return self.comparison(phrase, self.even(choices))
        return self.statement(*self.quality(phrase))

    def spot(self) -> tuple[Words, Words]:
        """On the table, in the kitchen."""
        if self.chance(0.5):
            en, fr = self.unit(
                self.pick((("on", "sur"), ("under", "sous"), ("next to", "à côté de")))
            )
            location = self.noun_phrase(named("table, chair"), number="singular", bare=True)
            return en + location.en, fr + location.fr
        return self.location(far=False)

    def comparison(
        self, phrase: NounPhrase | None = None, adjective: Adjective | None = None
    ) -> tuple[Words, Words]:
        """Someone or something is taller, as tall, less patient ... than another."""
        if phrase is None or adjective is None:
            phrase = self.subject("noun name pronoun")
            adjective = self.even(
                [
                    a
                    for a in ADJECTIVES
                    if "human" in a.classes and a.predicate and a.en not in UNCOMPARED
                ]
            )
            standard = self.subject("noun name")
        else:
            assert phrase.noun is not None
            if phrase.noun.cls in ("thing", "readable"):
                standard = self.possessed(phrase.noun, phrase.plural)
            else:
                candidates = [n for n in NOUNS.values() if n.cls == phrase.noun.cls and not n.mass]
                standard = self.noun_phrase(candidates, "subject", number="singular", bare=True)
        degree = self.weighted(("more", "as", "less"), (5, 3, 0 if adjective.more else 2))
        word = adjective.french(phrase.gender, phrase.plural)
        if degree == "more" and adjective.more:
            pair = (f"{adjective.more}/1,2 than/3", f"plus/1 {word}/2 que/3")
        elif degree == "as":
            pair = (f"as/1 {adjective.en}/2 as/3", f"aussi/1 {word}/2 que/3")
        else:
            fr_degree = {"more": "plus", "less": "moins"}[degree]
            pair = (f"{degree}/1 {adjective.en}/2 than/3", f"{fr_degree}/1 {word}/2 que/3")
        predicate = self.predicate(BE, self.weighted(("present", "past"), (3, 1)))
        self.add(predicate, self.unit(pair))
        self.add(predicate, (standard.en, standard.fr))
        return self.statement(phrase, predicate, "be")

    def there_is(self, depth: int = 0) -> tuple[Words, Words]:
        """There is a dog under the table: il y a."""
        plural = self.chance(0.5)
        nouns = FOLK[:14] + ANIMALS + THINGS + READABLES + FOODS[:6]
        phrase = self.noun_phrase(
            [n for n in nouns if n not in RELATIVES], number="plural" if plural else "singular"
        )
        while phrase.en[0].text not in ("a", "two", "three", "four", "five", "ten", "many"):
            phrase = self.noun_phrase(
                [n for n in nouns if n not in RELATIVES], number="plural" if plural else "singular"
            )
        tense = self.weighted(("present", "past"), (3, 1))
        be = (
            ("were" if phrase.plural else "was")
            if tense == "past"
            else ("are" if phrase.plural else "is")
        )
        finite = "avait" if tense == "past" else "a"
        en, fr = self.unit((f"there/1 {be}/2", f"il/1 y/1,2 {finite}/2"))
        location = self.location(far=False) if self.chance(0.6) else self.spot()
        return en + phrase.en + location[0], fr + phrase.fr + location[1]

    def organised_subject(self) -> NounPhrase:
        """An institution, a country, a government."""
        kind = self.weighted(("institution", "country", "body"), (6, 2, 3))
        if kind == "institution":
            return self.institution()
        if kind == "country":
            english, french, _ = self.pick(COUNTRIES)
            person = ILS if english.startswith("the") else IL
            gender = "f" if french.startswith("la") else "m"
            return NounPhrase(*self.unit((english, french)), person, gender, english)
        return self.noun_phrase(BODIES, "subject", number="singular", bare=self.chance(0.8))

    def political_object(self, nouns: Sequence[Noun], role: str = "object") -> NounPhrase:
        """A law, an agreement, perhaps on a subject."""
        phrase = self.noun_phrase(nouns, role, number="plural" if self.chance(0.2) else "singular")
        topical = named("agreement, treaty, report, decision, law, proposal")
        if phrase.noun in topical and self.chance(0.45):
            en, fr = self.unit(("on", "sur"))
            topic = self.unit(self.pick(TOPICS))
            phrase.en = phrase.en + en + topic[0]
            phrase.fr = phrase.fr + fr + topic[1]
        return phrase

    def news(self, depth: int = 0) -> tuple[Words, Words]:
        """An institution signs or rejects something."""
        if self.chance(0.4):
            return self.passive()
        who = self.organised_subject()
        verb = self.verb_of(INSTITUTIONAL)
        tense = self.weighted(
            ("past", "future", "present", "perfect", "want", "must"), (8, 4, 3, 3, 1, 1)
        )
        negation = "not" if tense != "perfect" and self.chance(0.18) else ""
        predicate = self.predicate(verb, tense, negation)
        self.adverb_for(predicate)
        thing = self.political_object(verb.objects, "negated object" if negation else "object")
        self.pairs.append(f"{verb.name} {thing.lemma}")
        self.add(predicate, (thing.en, thing.fr))
        if tense in ("past", "future") and self.chance(0.4):
            self.add(predicate, self.news_time(tense))
        self.note(predicate, "news")
        return self.statement(who, predicate)

    def news_time(self, tense: str) -> tuple[Words, Words]:
        """A month, a year or both."""
        if tense == "future":
            return self.unit(self.pick(FUTURE_TIMES[2:5]))
        year = self.pick(YEARS)
        if self.chance(0.5):
            return self.unit((f"in/1 {year}/2", f"en/1 {year}/2"))
        en, fr = self.pick(MONTHS)
        return self.unit((f"in/1 {en}/2 {year}/3", f"en/1 {fr}/2 {year}/3"))

    def passive(self) -> tuple[Words, Words]:
        """The treaty was signed in August 1992."""
        verb = self.verb_of(INSTITUTIONAL)
        thing = self.political_object(verb.objects, "subject")
        self.pairs.append(f"{verb.name} {thing.lemma}")
        form = verb.fr.agreeing(thing.gender, thing.plural)
        tense = self.weighted(("past", "future", "perfect"), (6, 3, 2))
        negation = self.chance(0.2)
        no_en, ne, pas = (" not/9", "ne/9 ", " pas/9") if negation else ("", "", "")
        main = f"{verb.participle}/2"
        match tense:
            case "past":
                en = f"{'were' if thing.plural else 'was'}/1{no_en} {main}"
            case "future":
                en = f"will/1{no_en} be/3 {main}"
            case _:
                en = f"{'have' if thing.plural else 'has'}/1{no_en} been/3 {main}"
        if tense == "future":
            finite = ETRE.future(thing.person)
            fr = f"{ne}{finite}/1,3{pas} {form}/2"
        else:
            fr = f"{ne}{AVOIR.present[thing.person]}/1{pas} été/1,3 {form}/2"
        clause = self.unit((en, fr))
        words = (thing.en + clause[0], thing.fr + clause[1])
        if self.chance(0.35):
            by = self.unit(("by", "par"))
            agent = self.organised_subject()
            words = (words[0] + by[0] + agent.en, words[1] + by[1] + agent.fr)
        elif tense != "perfect" and self.chance(0.75):
            time = self.news_time(tense)
            words = (words[0] + time[0], words[1] + time[1])
        self.structures.append(f"passive {tense}")
        return words

    def coordination(self, depth: int = 0) -> tuple[Words, Words]:
        """Two clauses joined by "and" or "but"."""
        first = self.pick((self.simple, self.simple, self.thing_state))(depth)
        second = self.simple(0)
        return self.joined(first, second)

    def joined(
        self, first: tuple[Words, Words], second: tuple[Words, Words]
    ) -> tuple[Words, Words]:
        """Two clauses with a conjunction and a comma between them."""
        link = self.unit(("but", "mais") if self.chance(0.35) else ("and", "et"))
        comma = [Word(",", (), "glue")]
        return first[0] + comma + link[0] + second[0], first[1] + comma + link[1] + second[1]

    def taken_up(self, depth: int = 0) -> tuple[Words, Words]:
        """Paul buys a book and reads it: the pronoun agrees with the thing taken up."""
        verb = self.verb_of(
            [
                v
                for v in TRANSITIVE
                if v.name in ("buy", "find", "choose", "take", "receive", "look for", "see")
            ]
        )
        tense = self.pick(("present", "past", "future"))
        who = self.full_subject(depth)
        predicate = self.predicate(verb, tense)
        nouns = [n for n in verb.objects if n.cls in ("thing", "readable", "food", "drink")]
        phrase = self.noun_phrase(nouns)
        self.pairs.append(f"{verb.name} {phrase.lemma}")
        self.add(predicate, (phrase.en, phrase.fr))
        first = self.statement(who, predicate)
        assert phrase.noun is not None
        seconds = [
            v
            for v in TRANSITIVE + DITRANSITIVE
            if phrase.noun in v.objects
            and v is not verb
            and not v.preposition
            and not v.stative
            and v.name
            not in ("take", "read", "buy", "find", "choose", "look for", "receive", "see", "lose")
        ]
        second = self.predicate(self.verb_of(seconds), tense)
        key = self.key()
        pronoun = "them" if phrase.plural else "it"
        le = "les" if phrase.plural else "la" if phrase.gender == "f" else "le"
        second.en_after = [Word(pronoun, (key,))]
        second.clitics = [Word(le, (key,))]
        second.agreement = phrase
        if second.verb in DITRANSITIVE:
            to = self.unit(("to", "à"))
            receiver = self.noun_phrase(FOLK, "subject", self.owner_of(who))
            self.add(second, (to[0] + receiver.en, to[1] + receiver.fr))
        elif self.chance(0.5):
            self.add(second, self.location(owner=self.owner_of(who)))
        link = self.unit(("and", "et"))
        gap = NounPhrase([], [], who.person, who.gender, who.lemma)
        clause = self.statement(gap, second)
        self.structures.append("taken up")
        return first[0] + link[0] + clause[0], first[1] + link[1] + clause[1]

    def subordinate(self, depth: int = 0) -> tuple[Words, Words]:
        """A main clause with a clause of reason, time, condition, concession."""
        kind = self.weighted(("because", "when", "if", "although", "while"), (6, 5, 5, 4, 3))
        who = self.full_subject(depth)
        again = self.referring(who) if self.chance(0.75) else self.short_subject()
        tenses = {
            "because": ("present", "past", "future"),
            "when": ("present", "past"),
            "if": ("future",),
            "although": ("present", "future"),
            "while": ("past", "present"),
        }
        tense = self.pick(tenses[kind])
        predicate = self.action(who, self.main_kind(), tense, depth, plain=self.chance(0.6))
        while predicate.verb.stative:
            predicate = self.action(who, self.main_kind(), tense, depth, plain=self.chance(0.6))
        main = self.statement(who, predicate)
        clause = self.adverbial(kind, tense, again)
        self.structures.append(kind)
        if kind in ("if", "although", "when") and self.chance(0.55):
            comma = [Word(",", (), "glue")]
            return clause[0] + comma + main[0], clause[1] + comma + main[1]
        return main[0] + clause[0], main[1] + clause[1]

    def main_kind(self) -> str:
        """The kind of predicate of a main clause."""
        kinds = ("transitive", "two", "indirect", "motion", "activity", "arrival")
        return self.weighted(kinds, (46, 10, 6, 9, 10, 7))

    def adverbial(self, kind: str, tense: str, who: NounPhrase) -> tuple[Words, Words]:
        """The subordinate clause with its conjunction."""
        conjunctions = {
            "because": "parce que",
            "when": "quand",
            "if": "si",
            "although": "bien que",
            "while": "pendant que",
        }
        link = self.unit((kind, conjunctions[kind]))
        if kind in ("when", "if", "because") and tense != "past" and self.chance(0.2):
            clause = self.unit(self.pick(WEATHER))
        elif kind == "although":
            clause = self.statement(who, *self.state(who, "subjunctive", brief=True))
        elif kind == "while":
            verbs = [v for v in ACTIVITIES if v.en not in ("live", "fall", "stay")]
            now = "was -ing" if tense == "past" else "progressive"
            clause = self.statement(who, self.predicate(self.verb_of(verbs), now))
        elif kind == "because" or self.chance(0.4):
            own = "past" if tense == "past" else "present"
            clause = self.statement(who, *self.state(who, own, brief=True))
        elif tense == "past":
            verbs = [v for v in ACTIVITIES if v.en not in ("live", "fall", "stay")]
            predicate = self.predicate(self.verb_of(verbs), "was -ing")
            self.add(predicate, self.location())
            clause = self.statement(who, predicate)
        else:
            predicate = self.action(who, self.main_kind(), "present", plain=True)
            while predicate.verb.stative:
                predicate = self.action(who, self.main_kind(), "present", plain=True)
            clause = self.statement(who, predicate)
        return link[0] + clause[0], link[1] + clause[1]

    def complement(self, depth: int = 0) -> tuple[Words, Words]:
        """Someone thinks that ..."""
        who = self.subject()
        verb = self.verb_of(THINKING)
        tense = self.weighted(("present", "past"), (4, 1))
        predicate = self.predicate(verb, tense)
        link = self.unit(("that", "que"))
        subject = self.referring(who) if self.chance(0.3) else self.subject()
        if subject.lemma == "they" and who.plural:
            subject = self.referring(who) if who.lemma not in ("we", "I", "you") else subject
        if tense == "past":
            clause = self.statement(subject, *self.state(subject, "past"))
        elif verb.en == "hope":
            clause = self.statement(
                subject, self.action(subject, self.main_kind(), "future", depth)
            )
        elif self.chance(0.2):
            clause = self.news()
        else:
            clause = self.statement(subject, *self.any_predicate(subject, depth=depth))
        self.add(predicate, (link[0] + clause[0], link[1] + clause[1]))
        self.structures.append("complement")
        return self.statement(who, predicate)

    # ---- questions ----

    def question(self, depth: int = 0) -> tuple[Words, Words]:
        """A question: inversion with a pronoun, est-ce que with a noun."""
        kind = self.weighted(("yes", "where", "why", "who", "how many", "when"), (8, 3, 2, 2, 2, 2))
        match kind:
            case "who":
                return self.who_question()
            case "how many":
                return self.how_many_question()
            case "yes":
                who = self.subject()
                return self.inverted_question(("", ""), who, *self.asked_predicate(who))
            case "where":
                return self.where_question()
        who = self.subject()
        tense = self.pick(("past", "future", "present"))
        if kind == "why":
            predicate, be = self.any_predicate(who, tense, plain=True)
            return self.inverted_question(("why", "pourquoi"), who, predicate, be)
        tense = self.pick(("past", "future"))
        predicate = self.action(
            who, self.pick(("transitive", "arrival", "motion")), tense, plain=True
        )
        if predicate.verb.stative:
            predicate = self.action(who, "arrival", tense, plain=True)
        return self.inverted_question(("when", "quand"), who, predicate, "")

    def asked_predicate(self, who: NounPhrase) -> tuple[Predicate, str]:
        """A predicate without negation for a question."""
        if self.chance(0.2):
            return self.state(who, self.pick(("present", "past")), brief=True)
        kind = self.main_kind()
        return self.action(
            who,
            kind,
            self.pick(("present", "past", "future", "want", "can", "perfect")),
            plain=True,
        ), ""

    def where_question(self) -> tuple[Words, Words]:
        """Where is the key? Where does she work?"""
        if self.chance(0.4):
            phrase = self.noun_phrase(THINGS + READABLES + SITES, "subject")
            be = "are" if phrase.plural else "is"
            etre = "sont" if phrase.plural else "est"
            en, fr = self.unit((f"where/1 {be}/2", f"où/1 {etre}/2"))
            return self.with_mark(en + phrase.en, fr + phrase.fr)
        who = self.subject()
        names = ("work", "live", "sleep", "dance", "swim", "sing")
        verbs = [v for v in ACTIVITIES if v.en in names]
        if self.chance(0.5):
            names = ("buy", "find", "lose", "see", "meet", "wait for")
            verbs = [v for v in TRANSITIVE if v.name in names]
        tense = self.weighted(("present", "past", "future"), (3, 3, 1))
        predicate = self.predicate(self.verb_of(verbs), tense)
        if predicate.verb.objects:
            self.add_object(predicate, who, 0, 0.1)
        return self.inverted_question(("where", "où"), who, predicate, "")

    def who_question(self) -> tuple[Words, Words]:
        """Who wrote the letter?"""
        key = self.key()
        who = NounPhrase([Word("who", (key,))], [Word("qui", (key,))], IL, "m", "who")
        tense = self.pick(("past", "present", "future"))
        predicate = self.action(who, self.pick(("transitive", "two")), tense, plain=True)
        return self.with_mark(*self.statement(who, predicate))

    def how_many_question(self) -> tuple[Words, Words]:
        """How many books did she buy? The participle agrees with the books."""
        verbs = [v for v in TRANSITIVE if v.name in ("buy", "see", "sell", "find", "eat", "have")]
        verb = self.verb_of(verbs)
        noun = self.even([n for n in verb.objects if not n.mass])
        self.pairs.append(f"{verb.name} {noun.en}")
        en, fr = self.unit(("how many", "combien de"))
        noun_en, noun_fr = self.modified(noun, True, 0.2)
        who = self.subject()
        predicate = self.predicate(verb, self.weighted(("past", "present", "future"), (4, 3, 2)))
        predicate.agreement = NounPhrase([], [], ILS, noun.gender)
        front = (en + noun_en, fr + noun_fr)
        return self.inverted_question(("", ""), who, predicate, "", front)

    def inverted_question(
        self,
        pair: tuple[str, str],
        who: NounPhrase,
        predicate: Predicate,
        be: str = "",
        front: tuple[Words, Words] | None = None,
    ) -> tuple[Words, Words]:
        """Put a clause in the order of a question."""
        verb = self.conjugate(predicate, who, question=True, be=be)
        en_front, fr_front = front or self.unit(pair)
        en = en_front + verb.en_aux + who.en + verb.en_rest + predicate.en_after
        if who.pronoun and who.lemma != "I":
            finite, pronoun = verb.fr_finite, who.fr[0]
            bridge = "-t-" if finite.text[-1] in "aec" else "-"
            inverted = Word(finite.text + bridge + pronoun.text, finite.keys + pronoun.keys)
            fr = fr_front + verb.fr_before + [inverted] + verb.fr_rest
            shape = "inversion"
        else:
            aux_keys = verb.en_aux[0].keys
            est_ce_que = [Word("est-ce", aux_keys), Word("que", aux_keys)]
            fr = fr_front + est_ce_que + who.fr + verb.fr_before + [verb.fr_finite] + verb.fr_rest
            shape = "est-ce que"
        self.structures.append(f"{predicate.tense}, {shape}")
        return self.with_mark(en, fr + predicate.fr_after)

    def with_mark(self, en: Words, fr: Words) -> tuple[Words, Words]:
        """Add question marks: attached in English, apart in French."""
        key = self.key()
        return [*en, Word("?", (key,), "glue")], [*fr, Word("?", (key,))]

    # ---- whole lines ----

    def long_sentence(self) -> tuple[Words, Words]:
        """Clauses joined to a long sentence."""
        makers = (
            self.subordinate,
            self.complement,
            self.simple,
            self.taken_up,
            self.thing_state,
            self.news,
        )
        words = self.pick(makers)(2)
        length = 24 + self.pick(range(20))
        while len(words[0]) < length:
            words = self.joined(words, self.pick(makers)(1))
        return words

    def sentence(self, long: bool = False) -> Sentence:
        """A whole sentence with its French and its links."""
        self.next_key = 0
        self.pairs = []
        self.structures = []
        makers = (
            self.simple,
            self.question,
            self.there_is,
            self.news,
            self.coordination,
            self.taken_up,
            self.subordinate,
            self.complement,
            self.comparison_sentence,
            self.thing_state,
        )
        weights = (17, 14, 4, 16, 12, 8, 21, 12, 4, 7)
        maker = self.weighted(makers, weights)
        depth = 1 if self.chance(0.7) else 0
        self.alone = depth == 0 and maker in (self.simple, self.question) and not long
        en, fr = self.long_sentence() if long else maker(depth)
        if en[-1].text != "?":
            stop = [Word(".", (), "glue")]
            en, fr = en + stop, fr + stop
        return finished(en, fr, self.pairs, self.structures)

    def comparison_sentence(self, depth: int = 0) -> tuple[Words, Words]:
        """A comparison of people."""
        return self.comparison()


def finished(en: Words, fr: Words, pairs: list[str], structures: list[str]) -> Sentence:
    """Write both sides and turn shared keys to links."""
    source, target = write_english(en), write_french(fr)
    places: dict[int, list[int]] = {}
    for index, word in enumerate(source):
        for key in word.keys:
            places.setdefault(key, []).append(index)
    links = {
        (s, t) for t, word in enumerate(target) for key in word.keys for s in places.get(key, ())
    }
    return Sentence(
        " ".join(word.text for word in source),
        " ".join(word.text for word in target),
        tuple(sorted(links)),
        tuple(pairs),
        tuple(structures),
    )


def sentences(seed: int, long: bool = False) -> Iterator[Sentence]:
    """Sentences without end from a seed."""
    grammar = Grammar(seed)
    while True:
        yield grammar.sentence(long)

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
from typing import Any, NamedTuple

# --------------------------------------------------------------------------------------------------
# Words and their written form
# --------------------------------------------------------------------------------------------------


class Word(NamedTuple):
    """One word of a sentence that is being built.

    ``kind`` tells the writing rules what the word is: ``art`` an article that contracts, ``det`` or
    ``pre`` a word whose form depends on the next sound, ``glue`` one that joins the word before it.
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


def starts_with_vowel_sound(text: str) -> bool:
    """Say whether a French word makes the word before it elide."""
    lower = text.lower()
    return lower == "y" or lower[0] in "aâàeéèêiîïoôuûœh" and not lower.startswith(ASPIRATED)


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
    return text[0] in "aeiou" and not text.startswith(("use", "uni", "eu"))


def capitalised(words: list[Word]) -> list[Word]:
    """Give the first word a capital letter."""
    first = words[0]
    return [first._replace(text=first.text[0].upper() + first.text[1:]), *words[1:]]


@cache
def parse_phrase(text: str) -> tuple[tuple[str, int, str], ...]:
    """Read ``la/1 Banque/4 ...``: words with the number of the concept that each expresses."""
    parsed = []
    for item in text.split():
        word, _, number = item.partition("/")
        parsed.append((word, int(number or 0), "art" if word in ("le", "la", "les") else ""))
    return tuple(parsed)


# --------------------------------------------------------------------------------------------------
# Lexicon: nouns
# --------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
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
    if noun.endswith(("s", "x", "ch", "sh")) or noun == "hero" or noun.endswith("to"):
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
    lawyer, avocat, m
    baker, boulanger, m
    farmer, fermier, m
    journalist, journaliste, m
    actress, actrice, f
    queen, reine, f
    hero, héros, m
    writer, écrivain, m
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
    cow, vache, f
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
    shirt, chemise, f
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
    library, bibliothèque, f
    museum, musée, m
    office, bureau, m
    market, marché, m
    church, église, f
    hotel, hôtel, m
    restaurant, restaurant, m
    beach, plage, f
    bank, banque, f
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
# English, French with article, French after "in" or "to", French after "from".
COUNTRIES = (
    ("France", "la France", "en/1 France/2", "de/1 France/2"),
    ("Canada", "le Canada", "au/1 Canada/2", "du/1 Canada/2"),
    ("Japan", "le Japon", "au/1 Japon/2", "du/1 Japon/2"),
    ("Italy", "la Italie", "en/1 Italie/2", "de/1 Italie/2"),
    ("Germany", "la Allemagne", "en/1 Allemagne/2", "de/1 Allemagne/2"),
    ("Spain", "la Espagne", "en/1 Espagne/2", "de/1 Espagne/2"),
    ("Portugal", "le Portugal", "au/1 Portugal/2", "du/1 Portugal/2"),
    (
        "the/1 United/3 States/2",
        "les/1 États-Unis/2,3",
        "aux/1,2 États-Unis/3,4",
        "des/1,2 États-Unis/3,4",
    ),
)
# English, French, gender, plural.
INSTITUTIONS = (
    ("the/1 European/2 Central/3 Bank/4", "la/1 Banque/4 centrale/3 européenne/2", "f", False),
    ("the/1 International/2 Monetary/3 Fund/4", "le/1 Fonds/4 monétaire/3 international/2", "m", False),
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


@dataclass(frozen=True, slots=True)
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
        pretty, joli, , thing place song
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
        heavy, lourd, , thing part
        broken, cassé, , thing part
        dirty, sale, , thing place part animal
        clean, propre, , thing place
        expensive, cher, chère, thing food drink
        useful, utile, , readable politics
        round, rond, , thing
        wooden, en bois, =, table chair box door bridge house
        French, français, , human thing readable song food body politics wine place
        Italian, italien, italienne, human thing readable song food body wine place
        German, allemand, , human thing readable song food body place
        Spanish, espagnol, , human thing readable song food body wine place
        Canadian, canadien, canadienne, human body readable song
        cold, froid, , food drink place
        hot, chaud, , soup meat milk coffee water potato
        delicious, délicieux, délicieuse, food drink
        fresh, frais, fraîche, egg bread cheese water milk meat
        modern, moderne, , place thing
        quiet, calme, , place
        empty, vide, , box bag house street church office swimming_pool
        rich, riche, , human body, richer
        poor, pauvre, , human, poorer
        famous, célèbre, , human painting song poem book place
        sad, triste, , human song story poem letter
        happy, heureux, heureuse, human
        serious, sérieux, sérieuse, human article newspaper politics
        shy, timide, , human
        intelligent, intelligent, , human animal
        patient, patient, , human
        interesting, intéressant, , readable place politics
        difficult, difficile, , readable politics
        important, important, , readable politics body
        economic, économique, , reform law treaty agreement report budget
        political, politique, , reform agreement report decision article
        international, international, , treaty law agreement company
        ambitious, ambitieux, ambitieuse, reform budget proposal body
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
NATIONALITIES = ("French", "Italian", "German", "Spanish", "Canadian")


@cache
def adjectives_for(noun: Noun, before: bool) -> list[Adjective]:
    """The adjectives that make sense with a noun, on one side of the French noun."""
    tags = {noun.cls, noun.en, noun.en.replace(" ", "_")}
    return [
        adjective
        for adjective in ADJECTIVES
        if adjective.before == before and tags & set(adjective.classes)
    ]


# --------------------------------------------------------------------------------------------------
# Lexicon: verbs
# --------------------------------------------------------------------------------------------------

JE, IL, NOUS, VOUS, ILS = range(5)


@dataclass(frozen=True, slots=True)
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


@dataclass(frozen=True, slots=True)
class Verb:
    """A verb of both languages with what it needs around it.

    ``particle`` follows the English verb ("for"), ``preposition`` comes before the French object
    ("à"), ``extra`` follows the French verb ("besoin").  A ``stative`` verb has no progressive and
    is told in the imparfait.
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
    base, *given = forms.split()
    if base.endswith(("s", "sh", "ch", "o")):
        third = base + "es"
    elif base.endswith("y") and base[-2] not in "aeou":
        third = base[:-1] + "ies"
    else:
        third = base + "s"
    regular_past = base + "d" if base.endswith("e") else third[:-2] + "ed" if third.endswith(
        "ies"
    ) else base + "ed"
    past = given[0] if given else regular_past
    participle = given[1] if len(given) > 1 else past
    ing = given[2] if len(given) > 2 else (base[:-1] if base.endswith("e") else base) + "ing"
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
        THINGS + FOODS + named("house, horse, cow, book"),
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
    verb("like", regular("aimer"), FOLK + ANIMALS + SONGS + named("painting, dress, poem, story"),
         stative=True),
    verb("admire", regular("admirer"), FOLK + PLACES[:3] + named("painting, dress, castle, horse")),
    verb("help", regular("aider"), FOLK),
    verb(
        "know knew known",
        irregular("connaître connais connaît connaissons connaissez connaissent connaîtr connu"),
        FOLK + SONGS + PLACES + named("story, poem"),
        stative=True,
    ),
    verb("meet met", regular("rencontrer"), FOLK),
    verb("invite", regular("inviter"), FOLK),
    verb("thank", regular("remercier"), FOLK),
    verb(
        "wait",
        irregular("attendre attends attend attendons attendez attendent attendr attendu"),
        FOLK,
        particle="for",
    ),
    verb("listen", regular("écouter"), FOLK + SONGS,
         particle="to"),
    verb(
        "look",
        regular("regarder"),
        FOLK + ANIMALS + named("painting, flower, watch, house, castle, dress, garden"),
        particle="at",
    ),
    verb("visit", regular("visiter"), ROOMS[:4] + SITES),
    verb("wash", regular("laver"), named("car, shirt, dress, dog, horse, table, window, apple")),
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
    verb("prepare", regular("préparer"), named("soup, cake, coffee, meat, egg, report, gift")),
    verb("sing sang sung", regular("chanter"), SONGS),
    verb(
        "forget forgot forgotten forgetting",
        regular("oublier"),
        named("key, umbrella, hat, bag, camera, story, song, book, letter, toothbrush"),
    ),
    verb("carry", regular("porter"), named("bag, box, chair, table, child, bicycle, computer")),
    verb("clean", regular("nettoyer", "nettoi"), named("kitchen, house, car, window, table, church")
         + named("office, school, swimming pool, street")),
    verb(
        "build built",
        irregular(
            "construire construis construit construisons construisez construisent construir"
            " construit"
        ),
        named("house, bridge, school, church, hospital, castle, library"),
    ),
    verb(
        "understand understood",
        irregular(
            "comprendre comprends comprend comprenons comprenez comprennent comprendr compris"
        ),
        named("story, poem, letter, article, law, decision, report, treaty, proposal"),
        stative=True,
    ),
    verb(
        "choose chose chosen",
        irregular("choisir choisis choisit choisissons choisissez choisissent choisir choisi"),
        CONTENTS,
    ),
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
        "receive",
        irregular("recevoir reçois reçoit recevons recevez reçoivent recevr reçu"),
        READABLES[:3] + named("gift, flower, poem, painting"),
    ),
    verb(
        "take took taken",
        irregular("prendre prends prend prenons prenez prennent prendr pris"),
        ALL_THINGS + named("apple, egg, orange, cake, potato"),
    ),
)
INDIRECT = (
    verb("phone", regular("téléphoner"), FOLK, preposition="à"),
    verb(
        "answer",
        irregular("répondre réponds répond répondons répondez répondent répondr répondu"),
        FOLK,
        preposition="à",
    ),
    verb("speak spoke spoken", regular("parler"), FOLK, particle="to", preposition="à"),
    verb(
        "smile",
        irregular("sourire souris sourit sourions souriez sourient sourir souri"),
        FOLK,
        particle="at",
        preposition="à",
    ),
)
DITRANSITIVE = (
    verb("give gave given", regular("donner"), CONTENTS + DRINKS),
    verb("show showed shown", regular("montrer"), ALL_THINGS + PLACES + ANIMALS),
    verb("send sent", irregular("envoyer envoie envoie envoyons envoyez envoient enverr envoyé"), READABLES + named("gift, flower, painting")),
    verb("lend lent", regular("prêter"), ALL_THINGS),
    verb("bring brought", regular("apporter"), CONTENTS + DRINKS),
)
MOTION = (
    verb("go went gone", ALLER),
    verb("come came come", irregular("venir viens vient venons venez viennent viendr venu", True)),
    verb("run ran run running", irregular("courir cours court courons courez courent courr couru")),
    verb("return", regular("retourner", etre=True)),
)
ACTIVITIES = (
    verb("sleep slept", irregular("dormir dors dort dormons dormez dorment dormir dormi")),
    verb("work", regular("travailler")),
    verb("dance", regular("danser")),
    verb("sing sang sung", regular("chanter")),
    verb("swim swam swum swimming", regular("nager")),
    verb("laugh", irregular("rire ris rit rions riez rient rir ri")),
    verb("cry", regular("pleurer")),
    verb("live", regular("habiter"), stative=True),
    verb("stay", regular("rester", etre=True)),
    verb("fall fell fallen", regular("tomber", etre=True)),
    verb("travel travelled travelled travelling", regular("voyager")),
)
ARRIVALS = (
    verb("arrive", regular("arriver", etre=True)),
    verb("leave left", irregular("partir pars part partons partez partent partir parti", True)),
    verb("go went gone", irregular("sortir sors sort sortons sortez sortent sortir sorti", True),
         particle="out"),
    verb("get got got getting", regular("lever", "lèv", etre=True), particle="up", reflexive=True),
    verb("wake woke woken", regular("réveiller", etre=True), particle="up", reflexive=True),
    verb("rest", regular("reposer", etre=True), reflexive=True),
    verb("hurry", regular("dépêcher", etre=True), reflexive=True),
)
INSTITUTIONAL = (
    verb("sign", regular("signer"), named("agreement, treaty, letter")),
    verb("adopt", regular("adopter"), named("law, reform, budget, proposal, treaty")),
    verb("reject", regular("rejeter", "rejett"), POLITICS),
    verb("support", irregular("soutenir soutiens soutient soutenons soutenez soutiennent"
                              " soutiendr soutenu"), POLITICS[1:]),
    verb("criticise", regular("critiquer"), POLITICS),
    verb("publish", regular("publier"),
         named("report, decision, agreement, letter, budget")),
    verb("accept", regular("accepter"), POLITICS),
    verb("present", regular("présenter"), POLITICS),
    verb("defend", irregular("défendre défends défend défendons défendez défendent défendr"
                             " défendu"), POLITICS),
)
THINKING = (
    verb("think thought", regular("penser"), stative=True),
    verb("say said", irregular("dire dis dit disons dites disent dir dit")),
    verb("know knew known", irregular("savoir sais sait savons savez savent saur su"),
         stative=True),
    verb("hope", regular("espérer", "espèr"), stative=True),
)
BE = Verb("be", "is", "was", "been", "being", ETRE, stative=True)
# English third person and others, French infinitive and forms.
MODALS = (
    ("wants", "want", "to", ("veux", "veut", "voulons", "voulez", "veulent")),
    ("can", "can", "", ("peux", "peut", "pouvons", "pouvez", "peuvent")),
    ("must", "must", "", ("dois", "doit", "devons", "devez", "doivent")),
    ("would", "would", "like to", ("voudrais", "voudrait", "voudrions", "voudriez", "voudraient")),
)

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
HOURS = (("three", "trois"), ("five", "cinq"), ("eight", "huit"), ("ten", "dix"), ("two", "deux"))
AGES = (("ten", "dix"), ("twenty", "vingt"), ("thirty", "trente"), ("forty", "quarante"))
DAYS = (
    ("Monday", "lundi"),
    ("Tuesday", "mardi"),
    ("Friday", "vendredi"),
    ("Saturday", "samedi"),
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
YEARS = ("1945", "1968", "1992", "2004", "2016", "2025")
DATES = ("2", "3", "9", "15", "24", "30")
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
TENSES = ("present", "past", "future", "perfect", "progressive", "was -ing", "going to", "modal")
TENSE_WEIGHTS = (30, 26, 17, 7, 6, 3, 4, 7)
COMPOUND = ("past", "perfect")


class Grammar:
    """Makes sentences by chance from a seed."""

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed).random
        self.uses: dict[str, int] = {}
        self.next_key = 0
        self.pairs: list[str] = []
        self.structures: list[str] = []

    # ---- chance ----

    def chance(self, probability: float) -> bool:
        """True with this probability."""
        return self.random() < probability

    def pick[T](self, items: Sequence[T]) -> T:
        """One of the items, all alike."""
        return items[int(self.random() * len(items))]

    def weighted[T](self, items: Sequence[T], weights: Sequence[int]) -> T:
        """One of the items, by weight."""
        point = self.random() * sum(weights)
        for item, weight in zip(items, weights, strict=True):
            point -= weight
            if point < 0:
                return item
        return items[-1]

    def even[T: (Noun, Adjective)](self, items: Sequence[T]) -> T:
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
        base = self.next_key
        self.next_key += 10
        return self.side(pair[0], base), self.side(pair[1], base)

    @staticmethod
    def side(text: str, base: int) -> Words:
        """The words of one side; ``de/2,3`` would be read as several concepts."""
        return [Word(word, tuple(base + n for n in keys), kind) for word, keys, kind in
                parse_phrase(text)]

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
                other = self.key()
                tous = "toutes" if feminine else "tous"
                return (
                    [Word("all", (key,)), Word("the", (other,))],
                    [Word(tous, (key,)), Word("les", (other,))],
                )
            case "number":
                return self.unit(self.pick(NUMBERS))
        _, _, *forms = next(row for row in POSSESSIVES if row[0] == kind)
        return [Word(kind, (key,))], [Word(forms[number], (key,), "det")]

    def determiner_kind(self, noun: Noun, plural: bool, role: str, owner: str) -> str:
        """Choose a determiner that makes sense."""
        if noun in RELATIVES or (owner and self.chance(0.25)):
            return owner or self.pick(POSSESSIVES)[0]
        negated = role == "negated object"
        point = self.random()
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
        plural = not noun.mass and (self.chance(0.3) if number == "any" else number == "plural")
        kind = "the" if bare else self.determiner_kind(noun, plural, role, owner)
        if kind not in ("all the", "each") and noun.cls in ("thing", "readable"):
            if not bare and role != "negated object" and self.chance(0.1):
                return self.possessed(noun, plural)
        en_det, fr_det = self.determiner(noun, kind, plural)
        en, fr = self.modified(noun, plural, 0.36)
        if fr_det[0].kind == "some" and fr[0].kind == "pre":
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
        linked = [Word(word, (key,), "pre" if before else "") for word in words]
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
            return dict(zip(("I", "he", "she", "we", "you", "they"),
                            ("my", "his", "her", "our", "your", "their"), strict=True))[
                subject.lemma
            ]
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

    def place(self, motion: bool = False, owner: str = "") -> tuple[Words, Words]:
        """A place where someone is or goes."""
        point = self.random()
        if point < 0.17:
            en, fr = self.pick(CITIES)
            return self.unit((f"{'to' if motion else 'in'}/1 {en}/2", f"à/1 {fr}/2"))
        if point < 0.34:
            country = self.pick(COUNTRIES)
            english = country[0] if "/" in country[0] else country[0] + "/2"
            english = english.replace("/3", "/4").replace("/2", "/3") if "/1" in english else english
            english = english.replace("/1", "/2") if "the" in english else english
            return self.unit((f"{'to' if motion else 'in'}/1 {english}", country[2]))
        if not motion and point < 0.48:
            pair = self.pick(
                (
                    ("near", "près de"),
                    ("behind", "derrière"),
                    ("in front of", "devant"),
                    ("next to", "à côté de"),
                )
            )
            there = self.noun_phrase(PLACES + BRIDGES, number="singular", bare=True)
        else:
            there = self.noun_phrase(
                SITES if motion else PLACES, number="singular", bare=self.chance(0.8), owner=owner
            )
            at = there.noun.at if there.noun else "in"
            pair = ("to", "à") if motion else ("at", "à") if at == "at" else ("in", "dans")
        en, fr = self.unit(pair)
        return en + there.en, fr + there.fr

    def company(self, owner: str) -> tuple[Words, Words]:
        """With someone."""
        en, fr = self.unit(self.pick((("with", "avec"), ("without", "sans"))))
        other = self.noun_phrase(RELATIVES, owner=owner or "the")
        return en + other.en, fr + other.fr

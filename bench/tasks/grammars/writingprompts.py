"""WritingPrompts: a prompt in the manner of r/WritingPrompts and a story that follows it, cased and tokenised."""

from __future__ import annotations

from dataclasses import dataclass

from bench.tasks.factors import Factor, uniform
from bench.tasks.notation import Rule, Rules, by, lazy_grammar
from bench.tasks.task import Task


@dataclass(frozen=True)
class Place:
    """Where a story happens: as the prompt puts it, what is seen there, and the way out."""

    name: str
    sight: str
    exit: str


@dataclass(frozen=True)
class Oddity:
    """What is odd: as the prompt puts it, as the hero sees it, what else it does, and how it looks when it is over."""

    premise: str
    sight: str
    effect: str
    over: str


# Who the hero is, with a habit that identifies the hero in the story.
HABITS = {
    "lighthouse keeper": "(trimmed | polished) the lamp | counted the ships",
    "detective": "(closed | reread) the case file | fed the (office | police) dog",
    "wizard": "(sharpened | waxed) the wand | stirred the (cauldron | potion)",
    "librarian": "stamped the (last | late) books | dusted the (catalog | atlases)",
    "gravedigger": "(cleaned | leaned on) the shovel | dug (another | a fresh) grave",
    "baker": "kneaded the dough | (lit | swept) the oven",
    "retired superhero": "(ironed | mended) the old cape | watered the tomatoes",
    "robot": "(oiled | tightened) a joint | (charged | swapped) a battery",
    "clown": "(painted on | wiped off) a smile | juggled three (lemons | pins)",
    "thief": "(picked | oiled) a lock | counted the (stolen | night 's) money",
}
PLACES = {
    "harbor": Place(
        "in a (sleepy | small) fishing village",
        "(Boats | Nets) (creaked | dripped) in the harbor",
        "the (last | night) ferry",
    ),
    "station": Place(
        "aboard an (abandoned | old) space station",
        "The airlock (hummed | groaned) in the dark",
        "the (last | spare) escape pod",
    ),
    "hotel": Place(
        "in a snowbound (hotel | inn)",
        "Snow (pressed against | piled up under) the windows",
        "the (dog | wooden) sled",
    ),
    "desert": Place(
        "in a (dying | dusty) desert town",
        "Tumbleweeds (rolled | drifted) down the street",
        "the (noon | midnight) train",
    ),
    "dome": Place(
        "in a city (under the sea | on the ocean floor)",
        "Whales (sang | drifted) above the dome",
        "the (mail | yellow) submarine",
    ),
    "castle": Place(
        "in a (crumbling | cursed) castle",
        "Crows (circled | quarreled over) the towers",
        "the (secret | flooded) tunnel",
    ),
    "circus": Place(
        "in a (traveling | bankrupt) circus",
        "The tents (flapped | sagged) in the wind",
        "the (elephant | ticket) wagon",
    ),
    "island": Place(
        "on an island (without a name | that is on no map)",
        "The volcano (smoked | grumbled) in its sleep",
        "the (leaky | fishing) raft",
    ),
}
ODDITIES = {
    "mirrors": Oddity(
        "every mirror shows (tomorrow | the next day)",
        "the mirror showed (tomorrow | a day that had not happened yet)",
        "In the glass , {friend} was already (crying | running | packing)",
        "the mirrors showed only faces",
    ),
    "clocks": Oddity(
        "every clock stops | all clocks stop",
        "the (clocks | watches) had stopped at (noon | midnight | four)",
        "The (birds | clouds) hung (still | motionless) in the air",
        "the clocks ticked again",
    ),
    "shadows": Oddity(
        "people lose their shadows | all shadows (run | walk) away",
        "{my} shadow was (gone | missing)",
        "(Outside | Below) , (hundreds | dozens) of shadows were (marching | dancing)",
        "the shadows came home",
    ),
    "lies": Oddity(
        "(nobody | no one) can tell a lie",
        "(nobody | no one) could lie (anymore | any longer)",
        "The mayor confessed on the radio (twice | before breakfast | for an hour)",
        "people lied to each other again",
    ),
    "dead": Oddity(
        "the dead (return | come back)",
        "the dead were (standing in line | waiting) at the door",
        "{My} grandmother asked for (tea | her chair | her good shoes)",
        "the dead lay still",
    ),
    "cats": Oddity(
        "the cats (start to talk | begin to speak)",
        "the cat (was talking | could speak)",
        "By noon , the cats had (formed a union | sent a list of demands | elected a king)",
        "the cats only meowed",
    ),
    "names": Oddity(
        "everyone forgets {your} name",
        "(nobody | no one) (knew | remembered) {my} name",
        "Even the (letters | photographs) were blank where it had been",
        "everyone knew every name",
    ),
    "rain": Oddity(
        "the rain falls (up | upwards)",
        "the rain was falling (up | upwards)",
        "Puddles (rose | climbed) past the roof , (drop by drop | fish and all)",
        "the rain came down",
    ),
    "stars": Oddity(
        "the stars (go out | disappear)",
        "the stars had gone (out | dark)",
        "The (sailors | owls) were lost and the dogs would n't stop (howling | barking)",
        "the stars came out",
    ),
    "dreams": Oddity(
        "everyone has the same dream",
        "everyone had dreamed the same dream",
        "In it , a (door | stranger) was waiting at the (bottom | top) of a stair",
        "people slept without dreams",
    ),
}
OBJECTS = (
    "rusty key",
    "silver coin",
    "torn map",
    "broken compass",
    "red ribbon",
    "music box",
    "glass eye",
    "sealed letter",
)
FRIENDS = (
    *("Mara", "Tobias", "Ines", "Jonah", "Petra", "Silas"),
    *("Wren", "Otto", "Ruth", "Felix", "Nadia", "Bram"),
)
FACTORS = (
    Factor("who", uniform(HABITS)),
    Factor("where", uniform(PLACES)),
    Factor("odd", uniform(ODDITIES)),
    Factor("object", uniform(OBJECTS)),
    Factor("person", {"first": 2, "he": 1, "she": 1}),
    Factor("tone", uniform(("grim", "funny", "tender"))),
    Factor(
        "ending",
        {
            "grim": {"sacrifice": 3, "escape": 1, "culprit": 2},
            "funny": {"escape": 2, "culprit": 2, "acceptance": 2},
            "tender": {"sacrifice": 2, "escape": 1, "acceptance": 3},
        },
        given="tone",
    ),
    # Not in the prompt.
    Factor("friend", uniform(FRIENDS)),
    Factor("opening", uniform(("habit", "sight", "voice"))),
)


def by_tone(grim: Rule, funny: Rule, tender: Rule) -> Rule:
    """Returns the rule of the story's tone, or with probability 0.1 that of another tone."""
    return by("tone", grim=grim, funny=funny, tender=tender, leak=0.1)


RULES: Rules = {
    # The prompt: hero, place, object and oddity; sometimes also the end or the tone.
    "prompt": "[ WP ] {premise} {hint} {request}",
    "premise": by(
        "person",
        first=[
            "You are a {who} {where} . {one_day} , {odd} . All you (have | own) is a {object} .",
            "You are a {who} . You live {where} with nothing but a {object} . {one_day} , {odd} .",
            "{moment} {odd} , you are a {who} {where} with only a {object} .",
        ],
        otherwise=[
            "A {who} {where} has (nothing but | only) a {object} . {one_day} , {odd} .",
            "{one_day} , {odd} . {Your} only (hope | friend) is a {object} : the story of a {who} {where} .",
            "{moment} {odd} , a {who} {where} has to (act | do something) . {You} (has | owns) a {object} .",
        ],
    ),
    "moment": "When | The (day | moment) that",
    "one_day": "One (morning | night | day) | (Suddenly | Overnight)",
    "hint": {"{how_it_ends} .": 1, "": 1},
    "how_it_ends": by(
        "ending",
        sacrifice="(Stopping | Ending) it will cost {you} everything | There is a price to pay",
        escape="(It is time to run | There is one way out) | {You} must get out",
        culprit="It is {your} own fault | Someone is to blame : {you}",
        acceptance="(It is | This may be) for the best | {You} (would n't | will not) change it back",
    ),
    "request": {"{wanted} .": 1, "": 1},
    "wanted": by(
        "tone",
        grim="Make it (dark | grim | sad)",
        funny="Make it (funny | silly | absurd)",
        tender="Make it (sweet | hopeful | tender)",
    ),
    # The story.
    "story": "{opening} {discovery} {effect} . {comment} {keepsake} {ending} {coda}",
    "opening": by(
        "opening",
        habit="{Hero} {habit} (as usual | as always | like every morning) . {sight} .",
        sight="{sight} , and {hero} {habit} (once more | in peace | alone) .",
        voice="`` (Wake up | Come quickly | Look outside) ! '' {friend} (shouted | called) . "
        "{sight} , and {hero} {habit} .",
    ),
    "discovery": [
        "(Then | That was when) {i} (saw | noticed | understood) that {odd_sight} .",
        "It took {me} (a minute | an hour | a while) to (see | notice) that {odd_sight} .",
    ],
    "comment": "`` {remark} , '' {friend} (said | whispered | muttered) .",
    "remark": by_tone(
        "(We are all | Everyone here is) going to die | God (help us | forgive us) | This is how it ends",
        "(Well , this | This) is awkward | I blame the (government | neighbors) | I need a (drink | sandwich)",
        "(Stay | Wait) with me | We (will be fine | have each other) | Take my hand",
    ),
    "keepsake": [
        "{I} (held | gripped | reached for) the {object} in {my} (pocket | hand) .",
        "In {my} (pocket | hand) , the {object} (was warm | shivered | felt heavy) .",
    ],
    "ending": by(
        "ending",
        sacrifice="{I} (gave | handed) the {object} to {friend} and (let go | stepped into the light) . "
        "(By morning | At dawn) , {over} , but {my} chair was empty .",
        escape="{friend} (knew | pointed at) the only way out : {exit} . "
        "{We} ran (for it | until it hurt) and (never looked back | left the {object} behind) .",
        culprit="{friend} (turned | held) it to the light and (stared at | stepped away from) {me} . "
        "It was {my} own (work | wish) , made (years ago | in anger) : {over} only when {i} (broke it | wept) .",
        acceptance="{Hero} (could have | might have) ended it then , but (did n't | waited) . "
        "(Years | Months) later {friend} asked (why | about it) , and {hero} only {habit} .",
    ),
    "coda": by_tone(
        "(Nobody | No one) (spoke of | survived to tell) it . | The (silence | dark) came (back | after that) .",
        "{I} (asked for | never got) a refund . | It was (a very | a rather | quite a) long (Monday | Tuesday) .",
        "It was (enough | home) . | Somewhere , (a child | someone) (laughed | sang) . | Love (stays | is like that) .",
    ),
    "habit": by("who", HABITS),
    "sight": by("where", {where: place.sight for where, place in PLACES.items()}),
    "odd_sight": by("odd", {odd: oddity.sight for odd, oddity in ODDITIES.items()}),
    "effect": by("odd", {odd: oddity.effect for odd, oddity in ODDITIES.items()}),
    "over": by("odd", {odd: oddity.over for odd, oddity in ODDITIES.items()}),
    "exit": by("where", {where: place.exit for where, place in PLACES.items()}),
    # Words. The hero is {i} in the story and {you} in the prompt.
    "where": by("where", {where: place.name for where, place in PLACES.items()}),
    "odd": by("odd", {odd: oddity.premise for odd, oddity in ODDITIES.items()}),
    "hero": by("person", first="I", otherwise="the {who}"),
    "Hero": by("person", first="I", otherwise="The {who}"),
    "i": by("person", first="I", he="he", she="she"),
    "I": by("person", first="I", he="He", she="She"),
    "me": by("person", first="me", he="him", she="her"),
    "my": by("person", first="my", he="his", she="her"),
    "My": by("person", first="My", he="His", she="Her"),
    "We": by("person", first="We", otherwise="They"),
    "you": by("person", first="you", he="him", she="her"),
    "You": by("person", first="You", he="He", she="She"),
    "your": by("person", first="your", he="his", she="her"),
    "Your": by("person", first="Your", he="His", she="Her"),
}

TASK = Task(
    name="writingprompts",
    kind="conditional",
    title="WritingPrompts",
    summary="a prompt of about 30 words and a story that follows it, about 90 words",
    grammar=lazy_grammar(FACTORS, RULES, source="prompt", target="story"),
)

"""CNN/DailyMail: a short news article and a summary of its salient facts in other words, lower case and tokenised."""

from __future__ import annotations

from bench.tasks.factors import Factor, uniform
from bench.tasks.notation import Distinct, Rule, Rules, by, lazy_grammar
from bench.tasks.task import Task

# By event: what the news is about, and how it may end.
OBJECTS = {
    "robbery": ("bank", "pharmacy", "gas station", "jewelry store"),
    "crash": ("school bus", "bridge", "police car", "bakery"),
    "rescue": ("frozen lake", "flooded cave", "burning house", "deep ravine"),
    "lottery": ("supermarket", "coffee shop", "bus station", "bookstore"),
    "trial": ("tax fraud", "arson", "blackmail", "forgery"),
    "discovery": ("gold coin", "bronze sword", "stone statue", "silver ring"),
}
OUTCOMES = {
    "robbery": ("arrested", "at large", "gave up"),
    "crash": ("drunk", "injured", "fled"),
    "rescue": ("hospital", "unhurt", "billed"),
    "lottery": ("quits", "donates", "builds"),
    "trial": ("appeals", "sorry", "absent"),
    "discovery": ("museum", "auction", "lawsuit"),
}
FIRST_NAMES = {
    "man": ("james", "peter", "samuel", "victor", "andrew", "oscar", "martin", "leon", "hugo", "brian", "carl", "ian"),
    "woman": ("anna", "helen", "laura", "maria", "nina", "rachel", "sophie", "tina", "julia", "grace", "emma", "diane"),
}
LAST_NAMES = (
    *("walker", "hughes", "bennett", "foster", "morris", "palmer", "reed", "sanders"),
    *("turner", "wallace", "barnes", "carter", "dixon", "fisher", "graham", "jenkins"),
)
TOWNS = (
    *("boston", "denver", "leeds", "bristol", "austin", "glasgow", "portland", "cardiff"),
    *("memphis", "oxford", "seattle", "dover", "tampa", "belfast", "chicago", "norwich"),
)
JOBS = ("teacher", "nurse", "plumber", "baker", "farmer", "lawyer", "chef", "musician", "pilot", "carpenter")
AGES = ("19", "22", "24", "27", "29", "31", "34", "36", "39", "42", "45", "47", "53", "56", "62", "67")
COUNTS = ("two", "three", "four", "five", "six", "seven", "eight", "nine")

FACTORS = (
    Factor("paper", uniform(("cnn", "mail"))),
    Factor("event", uniform(OBJECTS)),
    Factor("object", {event: uniform(objects) for event, objects in OBJECTS.items()}, given="event"),
    Factor("outcome", {event: uniform(outcomes) for event, outcomes in OUTCOMES.items()}, given="event"),
    Factor("sex", {"man": 3, "woman": 2}),
    Factor("first", {sex: uniform(names) for sex, names in FIRST_NAMES.items()}, given="sex"),
    Factor("last", uniform(LAST_NAMES)),
    Factor("age", uniform(AGES)),
    Factor("job", uniform(JOBS)),
    Factor("town", uniform(TOWNS)),
    Factor("count", uniform(COUNTS)),
    Factor("order", {"facts": 2, "witness": 1, "ending": 1}),
    # Not in the article: the facts that the summary picks, and its tone.
    Factor("digest", {"person": 3, "event": 2, "ending": 2, "full": 3}),
    Factor("tone", {"cnn": {"sober": 3, "loud": 1}, "mail": {"sober": 1, "loud": 3}}, given="paper"),
)


def by_tone(sober: Rule, loud: Rule) -> Rule:
    """Returns the rule of the summary's tone, or with probability 0.1 that of the other tone."""
    return by("tone", sober=sober, loud=loud, leak=0.1)


RULES: Rules = {
    # The article: event, person, number and outcome, between sentences without facts.
    "article": by(
        "paper",
        cnn="{town} -lrb- cnn -rrb- -- {body}",
        mail="by . (daily mail reporter | associated press) . {body}",
    ),
    "body": by(
        "order",
        facts="{lead} {identity} {number} {aside} {outcome} {background}",
        witness="{lead} {quote} {identity} {background} {outcome} {number} {aside}",
        ending="{lead} {identity} {outcome} {asides} {number} {background}",
    ),
    "lead": by(
        "event",
        robbery=[
            "a {aged} {job} (robbed | held up) a {object} in {town} {when} , police (said | told reporters) .",
            "police in {town} say a {aged} {job} (entered | walked into) a {object} {when} and demanded cash .",
        ],
        crash=[
            "a {aged} {job} lost control of a (truck | car | van) and hit a {object} in {town} {when} , police said .",
            "a (truck | car | van) driven by a {aged} {job} slammed into a {object} in {town} {when} .",
        ],
        rescue=[
            "(firefighters | rescue workers) pulled a {aged} {job} from a {object} near {town} {when} .",
            "a {aged} {job} was (rescued | pulled) from a {object} near {town} {when} , officials said .",
        ],
        lottery=[
            "a {aged} {job} won the lottery with a ticket (bought | purchased) at a {object} in {town} {when} .",
            "the winning lottery ticket was sold to a {aged} {job} at a {object} in {town} {when} .",
        ],
        trial=[
            "a {aged} {job} was found guilty of {object} in a court in {town} {when} .",
            "a jury in {town} found a {aged} {job} guilty of {object} {when} after a (short | long | bitter) trial .",
        ],
        discovery=[
            "a {aged} {job} (found | dug up) a {object} while planting a tree in {town} {when} .",
            "a {aged} {job} digging (in a garden | in a field | under a shed) in {town} found a {object} {when} .",
        ],
    ),
    "aged": by("age", {age: f"{age}-year-old" for age in AGES}),
    "when": "(late | early | ) on (monday | tuesday | wednesday | thursday | friday | saturday | sunday)",
    "identity": [
        "{authority} (identified | named) the {man} as {first} {last} .",
        "the {man} (is | was) {first} {last} , (a neighbor | a relative | a colleague) (said | told reporters) .",
    ],
    "authority": by(
        "event",
        robbery="police | officers",
        crash="police | officers",
        rescue="firefighters | officials",
        lottery="lottery officials",
        trial="prosecutors | court officials",
        discovery="museum officials | archaeologists",
    ),
    "number": by(
        "event",
        robbery="{he} (took | left with | grabbed) (about | more than | nearly) {count} thousand dollars in cash .",
        crash="{count} people were (injured | taken to a hospital | treated for injuries) (at the scene | ) .",
        rescue="{he} had been (trapped | stuck) there for (about | more than | nearly) {count} hours .",
        lottery="the (prize | jackpot) is worth {count} million dollars (before taxes | after taxes | ) .",
        trial="the judge (sentenced {him} to | gave {him}) {count} years (in prison | behind bars) .",
        discovery="(experts | historians) (say | believe) that it is (about | at least) {count} hundred years old .",
    ),
    "outcome": by(
        "outcome",
        {
            "arrested": "(officers | detectives) arrested {him} (a few blocks away | at home | hours later) .",
            "at large": "{he} (drove off | escaped) in a (stolen | white | rented) car and has not been found .",
            "gave up": "{he} (called | went to) the police (the next morning | an hour later) and confessed .",
            "drunk": "{he} (failed | refused) a breath test and (was charged | spent the night in a cell) .",
            "injured": "{he} is in (critical | serious) condition (with a head injury | in intensive care) .",
            "fled": "{he} (climbed out | jumped out) and ran away before (help | an ambulance) arrived .",
            "hospital": "doctors are treating {him} for (a broken leg | burns | shock | a broken arm) .",
            "unhurt": "{he} (walked away | went home) without a scratch (that night | an hour later | ) .",
            "billed": "{he} will (get | receive) a bill for the (helicopter | operation) .",
            "quits": "{he} (called {his} boss | went to work) the next morning and resigned .",
            "donates": "{he} wants to give (most of it | all of it) to (a children 's hospital | an animal shelter) .",
            "builds": "{he} plans to build a (house | villa) for {his} (mother | parents | sister) .",
            "appeals": "{his} (lawyer | attorney) said {he} would appeal (at once | within days | ) .",
            "sorry": "{he} (wept | broke down) and apologized to {his} (family | victims) .",
            "absent": "{he} did not (come to | appear in) court and (a warrant was issued | has vanished) .",
            "museum": "{he} (gave | handed) it to the (city | local) museum (for free | ) .",
            "auction": "it will be (sold | offered) at auction (in london | in new york | next month) .",
            "lawsuit": "the owner of the land (has gone to court | has hired a lawyer) to get it .",
        },
    ),
    "quote": "`` {exclamation} , '' said {a_witness} (who asked not to be named | who lives nearby | ) .",
    "exclamation": [
        "i could not believe (it | my eyes) | (it | the whole thing) was like a movie",
        "(nobody | no one) here (expected | will forget) this | we are all (in shock | still shaking | speechless)",
    ],
    "a_witness": "a (neighbor | friend | shop owner | jogger | taxi driver)",
    "aside": [
        "(heavy rain | thick fog | snow) had closed (several | some | two) roads (in the area | around {town}) .",
        "it was the (second | third | fourth) such case in (the county | the region | {town}) this (month | year) .",
        "(reporters | onlookers | television crews) gathered (outside | at the scene) (within hours | by noon) .",
    ],
    "asides": Distinct(
        2,
        [
            "anyone with information is asked to (call | contact) (police | a hotline | the newspaper) .",
            "the (mayor | city council) (declined to comment | had no comment) (on {last} | ) .",
            "{quote}",
        ],
    ),
    "background": [
        "{last} has (lived in {town} | worked as a {job}) for (ten | twelve | fifteen | twenty) years .",
        "{last} is (single | married | divorced) and has (one child | no children | two daughters | two sons) .",
    ],
    # The summary: some of the facts again.
    "summary": by(
        "digest",
        person="{first} {last} , {age} , {did} in {town} . {subject} {became} .",
        event="{town} {job} {did} . {measure} .",
        ending="{first} {last} {became} . the {job} {did} in {town} .",
        full="{town} {job} {first} {last} , {age} , {did} . {measure} . {subject} {became} .",
    ),
    "subject": "{he} | {last}",
    "did": by(
        "event",
        robbery=by_tone(
            "is (accused | suspected) of robbing a {object}", "(raided | stormed) a {object} (with a gun | )"
        ),
        crash=by_tone("(drove | crashed) into a {object}", "(plowed | smashed) (right | straight | ) into a {object}"),
        rescue=by_tone("was saved from a {object}", "(cheated death | survived an ordeal) in a {object}"),
        lottery=by_tone("bought a winning ticket at a {object}", "hit the jackpot (at | thanks to) a {object}"),
        trial=by_tone("(has been | was) convicted of {object}", "(goes | is going) to jail for {object}"),
        discovery=by_tone("(unearthed | uncovered) a {object}", "(hit it | struck) lucky with a {object}"),
    ),
    "measure": by(
        "event",
        robbery=by_tone(
            "{count} thousand dollars (was stolen | is missing)", "the (loot | haul) : {count} thousand dollars"
        ),
        crash=by_tone(
            "{count} people (were | are) hurt", "the (horror | carnage) left {count} (people | victims) hurt"
        ),
        rescue=by_tone("help (came | arrived) after {count} hours", "the (nightmare | drama) lasted {count} hours"),
        lottery=by_tone(
            "the (win | sum) is {count} million dollars", "the (windfall | fortune) : {count} million dollars"
        ),
        trial=by_tone("the (sentence | term) is {count} years", "the (price | punishment) : {count} years in a cell"),
        discovery=by_tone(
            "the find (is | may be) {count} centuries old", "it lay hidden for {count} (whole | ) centuries"
        ),
    ),
    "became": by(
        "outcome",
        {
            "arrested": by_tone("(is in | was taken into) custody", "was (caught | nabbed)"),
            "at large": by_tone("is (still | ) at large", "is (still | ) on the run"),
            "gave up": by_tone("(has | ) surrendered", "turned {himself} in"),
            "drunk": by_tone("(is accused of driving | was driving) drunk", "had (been drinking | one too many)"),
            "injured": by_tone("is (badly hurt | in a hospital)", "is fighting for {his} life"),
            "fled": by_tone("(fled | left) the scene", "(vanished | disappeared) on foot"),
            "hospital": by_tone("is recovering in a hospital", "is (nursing | lucky despite) {his} injuries"),
            "unhurt": by_tone("was not (hurt | harmed)", "(is | got out) in one piece"),
            "billed": by_tone("must pay for the (rescue | effort)", "is (furious | stunned) at the cost"),
            "quits": by_tone("has (quit {his} job | stopped working)", "told the boss (goodbye | to get lost)"),
            "donates": by_tone("will donate (it | the money)", "is (giving | handing) it to the needy"),
            "builds": by_tone("will spend it on {his} family", "is treating {his} family to a dream home"),
            "appeals": by_tone("will (fight | challenge) the verdict", "vows to (fight on | clear {his} name)"),
            "sorry": by_tone("(is | was) sorry", "begged for (mercy | forgiveness)"),
            "absent": by_tone("is (missing | absent)", "is on the run"),
            "museum": by_tone("donated (it | the find)", "is not keeping (it | a cent)"),
            "auction": by_tone("(hopes | plans) to sell it", "is cashing in on it"),
            "lawsuit": by_tone("may (lose it | have to return it)", "faces (a fight | a battle) over it"),
        },
    ),
    # Words.
    "man": by("sex"),
    "he": by("sex", man="he", woman="she"),
    "him": by("sex", man="him", woman="her"),
    "his": by("sex", man="his", woman="her"),
    "himself": by("sex", man="himself", woman="herself"),
}

TASK = Task(
    name="cnn_dailymail",
    kind="conditional",
    backbone="encoder-decoder",
    title="CNN/DM",
    summary="a news article of about 80 words and a summary of about 20",
    grammar=lazy_grammar(FACTORS, RULES, source="article", target="summary"),
)

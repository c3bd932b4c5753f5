"""Yahoo: a question with its details and the answer it got, in one text, lower case and tokenised."""

from __future__ import annotations

from dataclasses import dataclass

from bench.tasks.factors import Factor
from bench.tasks.notation import Distinct, Rules, by, lazy_grammar
from bench.tasks.task import Task


@dataclass(frozen=True)
class Trouble:
    """What people ask about: its name, a wish, a complaint, a plan, and what answers recommend, divided by ``;``."""

    name: str
    wish: str
    complaint: str
    plan: str
    remedies: str


TROUBLES = {
    "health": {
        "headaches": Trouble(
            "headaches",
            "(get rid of | stop | prevent) (headaches | a headache | migraines)",
            "my head (hurts | aches | pounds | spins)",
            "take (aspirin | ibuprofen) every day | (stop drinking | give up) coffee",
            "drink (plenty of | more) water; cut back on (coffee | chocolate | cheese); get (more | enough) sleep; "
            "lie down in a dark room; put (ice | a cold towel) on the neck",
        ),
        "acne": Trouble(
            "acne",
            "(get rid of | clear up | hide) (acne | pimples | blackheads)",
            "my (face | skin | back | forehead) breaks out",
            "pop (a pimple | my pimples) | put (toothpaste | alcohol | _UNK) on my face",
            "wash (twice a day | with mild soap); stop (touching | picking) it; try (benzoyl peroxide | proactiv); "
            "change the pillow case (every week | often); use (less makeup | an oil free lotion)",
        ),
        "weight": Trouble(
            "weight",
            "(lose weight | get in shape | lose ten pounds) (before summer | this year | without a gym)",
            "i (gain weight | get hungry | crave sugar | eat too much)",
            "eat (bread | dessert | late at night) | drink (diet soda | juice) | buy a treadmill",
            "eat more (vegetables | fruit | protein); walk (thirty | twenty) minutes a day; cut out (soda | sugar); "
            "keep a food diary; join a (gym | running club)",
        ),
    },
    "computers": {
        "laptop": Trouble(
            "laptop",
            "(fix | speed up | clean) my (old | slow | dell | new) laptop",
            "my laptop (freezes | shuts down | gets very hot | beeps)",
            "buy (a mac | more memory | a new laptop) | reinstall windows",
            "run a (virus | spyware) scan; delete the (temporary | old) files; add more (memory | ram); "
            "restart (it | the thing) in safe mode; update the (drivers | software)",
        ),
        "router": Trouble(
            "router",
            "(set up | connect to | secure) (my | a) wireless (router | network)",
            "my wireless connection (drops | slows down | cuts out | disappears)",
            "put a password on my router | switch to (cable | dsl)",
            "unplug it for (a | one) minute; move it (higher | to another room); change the (channel | password); "
            "update the firmware; call the (cable | phone) company",
        ),
        "ipod": Trouble(
            "ipod",
            "put (songs | videos | pictures | movies) on my ipod",
            "my ipod (freezes | shuts off | skips songs | loses songs)",
            "buy a (nano | used ipod | bigger ipod) | download (music | songs) from _UNK",
            "hold (menu | the center button); download the (newest | latest) itunes; try another (usb port | cable); "
            "charge it (over night | for four hours); restore it (with itunes | on another computer)",
        ),
    },
    "family": {
        "crush": Trouble(
            "crush",
            "(talk to | impress | ask out) (my crush | someone i like)",
            "my crush (ignores me | stares at me | acts weird | teases me)",
            "tell my crush (how i feel | the truth) | ask my crush to the dance",
            "(smile and say hi | be funny); find (something | a class) in common; ask for a (number | favor); "
            "(act normal | relax); plan a (movie | party) with friends",
        ),
        "ex": Trouble(
            "ex",
            "(get over | forget | win back) my ex",
            "my ex (calls me | cries | texts me | follows me)",
            "(call | forgive | trust) my ex | stay friends with my ex",
            "delete (the number | every picture); spend (more | some) time with friends; find a new (hobby | job); "
            "write (a letter | it all down); go (on a trip | out more)",
        ),
        "parents": Trouble(
            "parents",
            "(get along with | talk to | live with) my (parents | mom | dad)",
            "my (mom | dad) (yells at me | ignores me | picks a fight | says no)",
            "(move out | get my own place) | tell my (mom | dad | parents) the truth",
            "sit down and talk (honestly | about it); go to (counseling | church); cook (dinner | breakfast); "
            "listen more and (talk | complain) less; help with the (dishes | yard)",
        ),
    },
    "school": {
        "algebra": Trouble(
            "algebra",
            "(solve | factor | graph) (a quadratic | a linear | this) equation",
            "my algebra teacher (goes too fast | skips steps | gets mad | confuses me)",
            "(drop | fail | retake) algebra | use a calculator on the test",
            "write out every (step | number); get (x | the variable) by itself; plug the answer back in; "
            "do the (practice | extra) problems; (draw a graph | use the formula)",
        ),
        "essay": Trouble(
            "essay",
            "(start | write | end) an essay (on | about) (hamlet | the civil war | global warming)",
            "my essay (gets boring | sounds bad | comes out short | makes no sense)",
            "(use | quote | cite) wikipedia in my essay | buy an essay online",
            "make (an outline | a list of points); write the (intro | title) last; find some good (quotes | books); "
            "read it (out loud | to someone); start with a (fact | question)",
        ),
        "college": Trouble(
            "college stuff",
            "(get into | pay for | choose) a (good | state | private) college",
            "my (counselor | mom | dad) (bugs me about college | worries about tuition)",
            "go to a community college | take a year off (before college | to travel)",
            "fill out the (fafsa | forms early); visit the (campus | school); apply for (scholarships | grants); "
            "take the (sat | act) again; join a (club | team)",
        ),
    },
    "pets": {
        "puppy": Trouble(
            "puppy",
            "(train | house train | calm down) (my | a) puppy",
            "my puppy (bites me | barks | pees on the rug | chews shoes)",
            "let my puppy sleep (in my bed | outside) | give my puppy (milk | table scraps)",
            "use a (crate | short leash); give lots of (treats | praise); say no in a (firm | loud) voice; "
            "go outside every (two | three) hours; take a (training | puppy) class",
        ),
        "cat": Trouble(
            "cat",
            "(keep | stop) my cat from (scratching the couch | jumping on the table)",
            "my cat (throws up | meows | hides | hisses)",
            "declaw my cat | let my cat (go outside | eat dog food)",
            "buy a scratching (post | pad); clean the litter box (daily | twice a day); switch to (dry | wet) food; "
            "spray some (water | catnip); put (tape | foil) on it",
        ),
        "fish": Trouble(
            "fish",
            "(take care of | feed | clean the tank of) a (betta | goldfish)",
            "my fish (floats | swims sideways | stops eating | hides)",
            "put (two fish | a betta | a plant) in a (bowl | small tank) | use tap water",
            "test the (water | ph); change (some | half) of the water; feed (less | frozen peas); "
            "get a bigger (tank | filter); add (a heater | aquarium salt)",
        ),
    },
    "money": {
        "credit": Trouble(
            "credit report",
            "(fix | build | check) my credit (score | report | history)",
            "my credit card company (calls me | raises the rate | charges a fee)",
            "(close | cancel) (a | my) credit card | file for bankruptcy",
            "pay the (bills | minimum) on time; order a free (report | copy); pay off the (smallest | worst) card; "
            "cut up the (card | cards); make a (budget | payment plan)",
        ),
        "job": Trouble(
            "job",
            "(find | get | keep) a (good | part time | summer) job",
            "my boss (yells at me | cuts my hours | changes my shift)",
            "(quit | leave) my job | (ask for | demand) a raise",
            "update the (resume | references); dress (nicely | up) for the interview; apply (in person | at the mall); "
            "call (them back | again) in a week; practice (the interview | some questions)",
        ),
        "car": Trouble(
            "car",
            "(sell | buy | insure) a (used | new) car",
            "my (car | truck) (stalls | overheats | makes a noise | leaks oil)",
            "(lease | finance) a (honda | ford | toyota) | sell my car on ebay",
            "look up the blue book (value | price); take a (long | second) test drive; have a mechanic check it; "
            "shop around for (insurance | a loan); get (it | everything) in writing",
        ),
    },
}
FACTORS = (
    Factor("topic", dict.fromkeys(TROUBLES, 1)),
    Factor("thing", {topic: dict.fromkeys(things, 1) for topic, things in TROUBLES.items()}, given="topic"),
    Factor("question", {"how": 3, "why": 2, "should": 2}),
    Factor("asker", {"plain": 3, "polite": 2, "teen": 2}),
    Factor("answer", {"steps": 3, "story": 3, "referral": 2, "blunt": 2}),
)
THINGS = {thing: trouble for things in TROUBLES.values() for thing, trouble in things.items()}

RULES: Rules = {
    "text": "{question} {details} {answer}",
    # The question.
    "question": by(
        "question",
        how="{hello} (how (do | can | would) i | what is the (best | easiest | fastest) way to) {wish} ?",
        why="{hello} (why is it that | what does it mean (if | when)) {complaint} {when} ?",
        should="{hello} (should i | is it (ok | safe | wrong | a good idea) to) {plan} ?",
    ),
    "hello": by(
        "asker",
        plain="",
        polite="hello , | can someone please tell me , | i have a question , | good (morning | evening) all , | ",
        teen="ok so | umm | hey guys , | omg | sooo",
    ),
    "wish": by("thing", {thing: trouble.wish for thing, trouble in THINGS.items()}),
    "complaint": by("thing", {thing: trouble.complaint for thing, trouble in THINGS.items()}),
    "plan": by("thing", {thing: trouble.plan for thing, trouble in THINGS.items()}),
    "name": by("thing", {thing: trouble.name for thing, trouble in THINGS.items()}),
    "when": "every (day | night | week | weekend) | all the time | for no reason | (a lot | constantly) (lately | now)",
    # Its details.
    "details": by(
        "question",
        how="{background} {tried} {ending}",
        why="{tried} {background} {ending}",
        should="{reason} {background} {ending}",
    ),
    "background": by(
        "asker",
        plain=[
            "i am (twenty | thirty | forty) (two | five | seven) , i live in {place} and {complaint} {when} .",
            "this (started | began) (about | almost | ) {long} ago and {after_event} {complaint} {when} .",
        ],
        polite=[
            "i would (really | greatly | ) (appreciate | like) some advice because {after_event} {complaint} {when} .",
            "{after_event} {complaint} {when} and i am (worried | concerned | not sure what to do | a little lost) .",
        ],
        teen=[
            "im only (thirteen | fourteen | fifteen) and {complaint} {when} and its (so | really) (annoying | sad) !",
            "{after_event} {complaint} {when} and my (mom | dad | teacher) (laughs about it | doesnt get it) !",
        ],
    ),
    "after_event": "since (we moved to {place} | christmas | last summer | my birthday | i got sick) | ",
    "place": "texas | ohio | california | new york | canada | florida | london | _UNK",
    "long": "(two | three | six | _UNK) (days | weeks | months | years)",
    "tried": [
        "i (have | ) (already | ) tried to {remedy} (for {long} | ) but it did n't (help | work | change anything) .",
        "(my friend | my sister | someone | _UNK) told me to {remedy} but i (do n't trust that | forgot | ca n't) .",
        "i do n't want to (spend a lot of money | wait {long} | make it worse | look stupid) .",
    ],
    "reason": [
        "(my friend | my sister | everyone | _UNK) says i should n't but i (want to | do n't care | am so bored) .",
        "i (read | heard) (somewhere | online | on tv) that (it is a bad idea | you should n't | it never works) .",
        "(last year | once) i (almost | ) did and (regretted it | nothing happened | it was great) .",
    ],
    "ending": by(
        "asker",
        plain="any (ideas | suggestions | advice) ? | what (should i do | do you think) ? | what is going on ? | ",
        polite="thank you (very much | in advance | so much) . | thanks (for your help | for your time | in advance) .",
        teen="(plz | please) help ! ! | (best answer | ten points) to (whoever helps | the first one) ! | help me !",
    ),
    # The answer.
    "answer": by(
        "answer",
        steps="{lead} {remedies} . {credential} {if_not} , (try to | you can also) {habit} . {luck}",
        story="{same} . what (worked for | helped) me was to {remedies} . {after} . {luck}",
        referral="{refer} . (also | meanwhile) , (it helps to | you could) {remedy} . {source} . {luck}",
        blunt="{blunt} . (just | simply | you must) {remedies} and {habit} . {dismissal} .",
    ),
    "lead": "first , | the first thing to do is to | you (should | need to | could) | here is what to do : | i would",
    "if_not": "if that does n't (work | help | do it | do the trick) (after {long} | )",
    "credential": by(
        "topic",
        health="i am a (nurse | med student) . | (my doctor | webmd) says so . | ",
        computers="i (fix | sell) computers for a living . | (google | the manual) says so . | ",
        family="i have been (married | single) for {long} . | (dr . phil | oprah) says so . | ",
        school="i (teach | tutor) this stuff . | (my professor | the textbook) says so . | ",
        pets="i have (two | three) of them . | (my vet | the breeder) says so . | ",
        money="i work (at a bank | in sales) . | (my accountant | suze orman) says so . | ",
    ),
    "remedy": by("thing", {thing: trouble.remedies.split("; ") for thing, trouble in THINGS.items()}),
    "remedies": by(
        "thing", {thing: Distinct(2, trouble.remedies.split("; "), "{then}") for thing, trouble in THINGS.items()}
    ),
    "then": "and (then | ) | , then | or",
    "habit": "(be patient | ask around | keep trying | stay calm | start over) (for a while | for {long} | )",
    "same": [
        "i (had | went through) the (same | exact same) thing (last year | {long} ago | when i was your age)",
        "my (brother | cousin | best friend) had (a lot of | ) trouble with the {name} (too | last year | {long} ago)",
    ],
    "after": [
        "it took (a few | about two) (days | weeks | months) but (now | ) everything is (fine | great | much better)",
        "(now | since then) i (do n't | hardly) (worry about the {name} | have problems) (anymore | at all)",
    ],
    "refer": "you (should | need to) (ask | talk to | see | call) {expert} about the {name} (right away | first | )",
    "expert": by(
        "topic",
        health="a doctor | your doctor | a nurse | a pharmacist",
        computers="tech support | a technician | the geek squad | the manufacturer",
        family="a counselor | a close friend | your pastor | someone you trust",
        school="your teacher | a tutor | the guidance counselor | the librarian",
        pets="a vet | your vet | a trainer | the pet store",
        money="a financial advisor | your bank | an accountant | a lawyer",
    ),
    "source": [
        "(check out | go to | look at) www._UNK.com , (they have | it has) (good | free | lots of) (info | tips)",
        "there is (a good | an) (article | entry | ebook) about the {name} (on wikipedia | at the library | by _UNK)",
    ],
    "blunt": by(
        "topic",
        health="you are (fine | just lazy | worrying too much)",
        computers="(throw it away | get a mac | read the manual)",
        family="(grow up | get over it | you are too young for this)",
        school="(do your own homework | study harder | stop being lazy)",
        pets="(you should not own a pet | poor thing | pets are a lot of work)",
        money="(you spend too much | welcome to the real world | stop whining)",
    ),
    "dismissal": "it is not (that hard | rocket science | a big deal) | (why ask | ask your mom | good grief) | lol",
    "luck": "hope (this | that) helps {mark} | (good luck | best of luck) (with the {name} | to you | ) {mark}",
    "mark": "! | . | ! !",
}

TASK = Task(
    name="yahoo",
    kind="unconditional",
    title="Yahoo",
    summary="questions with details and an answer, about 80 words",
    grammar=lazy_grammar(FACTORS, RULES),
)

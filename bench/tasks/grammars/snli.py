"""SNLI: one-sentence captions of scenes with people and dogs."""

from __future__ import annotations

from collections.abc import Callable

from bench.tasks.factors import Factor
from bench.tasks.grammars.english import progressive, third_person
from bench.tasks.notation import Rule, Rules, by, lazy_grammar
from bench.tasks.task import Task

PEOPLE = {"man": 4, "woman": 4, "boy": 3, "girl": 3, "people": 4}
FACTORS = (
    Factor("scene", {"street": 3, "beach": 2, "park": 3, "kitchen": 2, "stage": 2, "field": 2}),
    Factor(
        "subject",
        {
            "street": {**PEOPLE, "dog": 2},
            "beach": {**PEOPLE, "dog": 4},
            "park": {**PEOPLE, "dog": 5},
            "kitchen": PEOPLE,
            "stage": PEOPLE,
            "field": {**PEOPLE, "dog": 3},
        },
        given="scene",
    ),
    Factor("form", {"progressive": 5, "simple": 3, "fragment": 2}),
    Factor("detail", {"clothing": 4, "companion": 2, "place": 3, "weather": 2, "onlookers": 2}),
)

# What people do in each scene, and dogs in all scenes: phrases that begin with an infinitive.
ACTIVITIES = {
    "street": [
        "ride {a_colour} (bicycle | bike | scooter | motorcycle)",
        "walk (down | along) (the | a) {busy} (street | sidewalk | road)",
        "wait for (the | a) (bus | taxi | train | friend)",
        "cross (the | a) {busy} (street | road | bridge)",
        "sell (fruit | flowers | newspapers | hot dogs | balloons)",
        "play (the | an old) (guitar | violin | trumpet | accordion)",
        "talk on (a | the) (cell phone | phone | pay phone)",
        "push {a_colour} (stroller | cart | shopping cart)",
        "take (a picture | pictures) of (a building | a statue | the traffic | a parade)",
        "carry {a_colour} (bag | backpack | umbrella | suitcase)",
    ],
    "beach": [
        "build a (large | small | tall | ) sand castle",
        "run (into | through | toward) the (waves | ocean | water | surf)",
        "ride a (big | small | huge | ) wave",
        "surf on {a_colour} surfboard",
        "play (volleyball | soccer | catch | frisbee | in the sand)",
        "fly {a_colour} kite",
        "lie on {a_colour} (towel | blanket | chair)",
        "collect (seashells | rocks | shells)",
        "look (out | ) at the (ocean | sea | boats | sunset)",
        "swim in the (ocean | sea | water | waves)",
    ],
    "park": [
        "sit on (a | the) (wooden | green | park | stone) bench",
        "throw {a_colour} (frisbee | ball)",
        "read a (book | newspaper | magazine | map) under a (big | ) tree",
        "feed (the | some) (ducks | birds | pigeons | squirrels)",
        "jog along a (dirt | gravel | shady | narrow) (path | trail)",
        "have a picnic",
        "climb a (big | tall | small) (tree | rock | wall)",
        "rest (in | on) the (grass | shade | green grass)",
        "slide down {a_colour} slide",
        "play (chess | cards | tag | catch)",
    ],
    "kitchen": [
        "cook (pasta | dinner | breakfast | soup | eggs | a meal)",
        "wash (the | some | dirty) (dishes | plates | pots | vegetables)",
        "cut (vegetables | onions | bread | carrots | a cake) with a (sharp | large | small | ) knife",
        "bake (cookies | bread | a cake | a pie | muffins)",
        "drink (coffee | tea | milk | juice) from {a_colour} (cup | mug)",
        "stir (soup | sauce | batter | chili) in {a_colour} (pot | bowl)",
        "eat (an apple | a sandwich | cereal | noodles)",
        "open the (refrigerator | oven | cupboard | window)",
        "pour (water | milk | oil | batter) into {a_colour} (pan | bowl | glass)",
    ],
    "stage": [
        "sing (a song | ) into (a | the) microphone",
        "play (the drums | the piano | an electric guitar | the saxophone | the violin)",
        "dance to (loud | slow | live | ) music",
        "give a (speech | talk)",
        "juggle (three | four | five) {colour} (balls | pins | torches)",
        "perform (a play | a magic trick | a dance | a comedy routine)",
        "bow (to | before) the {large} (audience | crowd)",
        "hold {a_colour} (guitar | microphone | flag | mask)",
        "conduct (a | the) {large} (choir | band | chorus)",
    ],
    "field": [
        "kick (a | the) (soccer ball | ball | football)",
        "swing (a | the) (baseball | wooden | metal) bat",
        "run (with | after | toward) the (football | ball | rugby ball)",
        "throw (a | the) (baseball | ball | football) to a (teammate | coach | friend)",
        "score (a | the winning) (goal | touchdown | point)",
        "catch (a | the) (baseball | football | ball) with (both hands | one hand | a glove)",
        "stretch before (a | the) (game | race | match | practice)",
        "jump over (a | the) (hurdle | fence | goalkeeper)",
        "slide into (first | second | third | home) base",
    ],
}
DOG_ACTIVITIES = [
    "run through the (grass | water | snow | mud | leaves)",
    "catch {a_colour} (frisbee | ball | toy) (in the air | )",
    "chase (a | another) (cat | bird | squirrel | rabbit | dog)",
    "jump over (a | the) (log | fence | hurdle | puddle)",
    "carry a (stick | bone | shoe | tennis ball)",
    "dig (a hole | ) in the (sand | dirt | ground)",
    "bark at (a | the) (cat | car | mailman | bird)",
    "sleep (on {a_colour} blanket | in the sun | under a chair)",
]


def activities(form: Callable[[str], str]) -> Rule:
    """Returns the rule of what the subject does, every leading verb in a form; ``str`` leaves the plural."""
    people = {scene: [form(phrase) for phrase in phrases] for scene, phrases in ACTIVITIES.items()}
    return by("subject", dog=[form(phrase) for phrase in DOG_ACTIVITIES], otherwise=by("scene", people))


RULES: Rules = {
    "text": by(
        "form",
        progressive="{who} {is} {doing} {ending}",
        simple=by("detail", companion="{who} {do} {ending}", otherwise="{who} {does} {ending}"),
        fragment="{who} {doing} {ending}",
    ),
    "is": by("detail", companion="are", otherwise=by("subject", people="are", otherwise="is")),
    "doing": activities(progressive),
    "does_one": activities(third_person),
    "do": activities(str),
    "does": by("subject", people="{do}", otherwise="{does_one}"),
    # Who is in the scene.
    "who": by("detail", clothing="{someone} {dressed}", companion="{someone} and {another}", otherwise="{someone}"),
    "someone": by(
        "subject",
        man="a man | a (young | middle-aged | bald | bearded | tall) man | an (old | older | elderly) man | a guy",
        woman="a woman | a (young | blond | smiling | tall) woman | an (old | older | elderly) woman | a lady",
        boy="a boy | a (little | young | small | blond | teenage) boy | a toddler | a young child | a schoolboy",
        girl="a girl | a (little | young | small | teenage) girl | a girl with (pigtails | long hair) | a schoolgirl",
        people="(two | three | four | several | some | many) {persons} | a (group | crowd) of {persons}",
        dog="a dog | a {coat} dog | a (big | small | large | little | wet) {coat} dog | a (puppy | poodle | greyhound)",
    ),
    "persons": "people | men | women | children | friends | teenagers | tourists",
    "coat": "brown | black | white | tan | gray",
    "another": by(
        "subject",
        man="(a | another) man | a woman | his (son | daughter | wife | friend)",
        woman="(a | another) woman | a man | her (son | daughter | husband | friend)",
        boy="(a | another) boy | a girl | his (sister | brother | father | mother | friend)",
        girl="(a | another) girl | a boy | her (sister | brother | father | mother | friend)",
        people="a (small | young | ) child | a (large | small | black | ) dog | their (teacher | guide | coach)",
        dog="(a | another) {coat} dog | its owner | a (cat | puppy | small child)",
    ),
    "dressed": by(
        "subject",
        dog="(with | wearing) {a_colour} (collar | leash | bandanna | sweater | harness)",
        people="(in | wearing) {colour} (shirts | uniforms | jackets | hats | costumes | coats)",
        otherwise={
            "(in | wearing) {outfit}": 4,
            "(in | wearing) {outfit} and {colour} (shoes | boots | pants | gloves)": 2,
            "with {accessory}": 1,
        },
    ),
    "outfit": by(
        "scene",
        street="{a_colour} (coat | jacket | suit | shirt | hoodie | scarf)",
        beach="{a_colour} (swimsuit | t-shirt | hat | wetsuit) | {colour} (shorts | sandals)",
        park="{a_colour} (sweater | t-shirt | dress | jacket | hat) | {colour} (shorts | jeans)",
        kitchen="{a_colour} (apron | shirt | sweater | hat) | {colour} (mittens | pajamas)",
        stage="{a_colour} (costume | dress | suit | vest | tie | wig)",
        field="{a_colour} (jersey | uniform | helmet | cap) | {colour} (shorts | socks)",
    ),
    "accessory": "(sunglasses | glasses | headphones | a tattoo) | {a_colour} (hat | backpack | cap | watch)",
    # How the caption ends.
    "ending": by(
        "detail",
        clothing="",
        companion=" | | {place}",
        place="{place} | {near}",
        weather="{weather}",
        onlookers="while {onlookers} | in front of {audience}",
    ),
    "place": by(
        "scene",
        street="on (a | the) {busy} (street | corner) | in the (city | town) | outside (a | the) (store | cafe | bank)",
        beach="(on | at) the {sandy} beach | by the (ocean | sea | water)",
        park="in (a | the) (park | public park | playground | garden) | on the (grass | lawn)",
        kitchen="in (a | the) (small | white | modern | ) kitchen | in (a | the) (restaurant | diner)",
        stage="on (a | the) (stage | platform) | at a (concert | festival | wedding | school)",
        field="on (a | the) (grassy | muddy | green | ) field | (at | in) (a | the) (stadium | school)",
    ),
    "near": by(
        "scene",
        street="near (a | the) (fountain | bus stop | church | parked car)",
        beach="near (a | the) (pier | lifeguard | dock | boat)",
        park="near (a | the) (lake | pond | fountain | picnic table)",
        kitchen="near (a | the) (stove | window | sink | counter)",
        stage="near (a | the) (curtain | speaker | piano | band)",
        field="near (a | the) (goal | fence | coach | scoreboard)",
    ),
    "weather": by(
        "scene",
        kitchen="(early | late) in the (morning | evening) | (late | ) at night | before (dinner | a party)",
        stage="(late | ) at night | under (bright | colorful | blue) lights | in the (evening | dark)",
        otherwise="on a (sunny | cloudy | hot | cold | windy | warm) (day | morning | afternoon) | in the (rain | sun)",
    ),
    "onlookers": "{others} (watch | look on | cheer | laugh | wait | take pictures | walk by)",
    "others": "(two | some | several) (people | men | women | children) | {their} (friends | parents | neighbors)",
    "their": by("subject", man="his", boy="his", woman="her", girl="her", people="their", dog="its"),
    "audience": "a (crowd | camera | brick wall | large window) | (some | many | two) (people | children | women)",
    # Words.
    "busy": "busy | crowded | city | narrow | wet | quiet | ",
    "sandy": "sandy | empty | crowded | rocky | ",
    "large": "large | small | cheering | ",
    "a_colour": {"a {colour}": 10, "an orange": 1},
    "colour": "red | blue | green | yellow | black | white | brown | purple | pink | gray",
}

TASK = Task(
    name="snli",
    kind="unconditional",
    title="SNLI",
    summary="one-sentence captions of scenes with people and dogs, about 10 words",
    grammar=lazy_grammar(FACTORS, RULES),
)

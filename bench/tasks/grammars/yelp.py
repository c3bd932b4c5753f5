"""Yelp: restaurant reviews of several sentences, lower case and tokenised."""

from __future__ import annotations

from bench.tasks.factors import Factor
from bench.tasks.notation import Distinct, Rule, Rules, by, lazy_grammar
from bench.tasks.task import Task

DISHES = {
    "pizza": {"margherita pizza": 3, "calzone": 2, "garlic knots": 2},
    "mexican": {"carne asada tacos": 3, "burrito": 3, "enchiladas": 2},
    "japanese": {"spicy tuna roll": 3, "rainbow roll": 2, "shrimp dumplings": 1},
    "diner": {"blueberry pancakes": 2, "omelet": 3, "french toast": 2},
    "grill": {"cheeseburger": 4, "sweet potato fries": 2, "pulled pork sandwich": 2},
    "chinese": {"orange chicken": 3, "beef lo mein": 2, "egg rolls": 2},
}
PLURAL = (
    *("garlic knots", "carne asada tacos", "enchiladas", "shrimp dumplings"),
    *("blueberry pancakes", "sweet potato fries", "egg rolls"),
)
FACTORS = (
    Factor("kind", {"pizza": 3, "mexican": 3, "japanese": 2, "diner": 2, "grill": 3, "chinese": 2}),
    Factor("dish", DISHES, given="kind"),
    Factor("sentiment", {"positive": 5, "mixed": 2, "negative": 3}),
    Factor("plan", {"food": 3, "service": 2, "visit": 3, "verdict": 2}),
    Factor("party", {"husband": 2, "wife": 2, "friends": 2, "alone": 3}),
    Factor("tone", {"calm": 3, "excited": 2}),
)


def by_number(singular: str, plural: str) -> Rule:
    """Returns a rule that agrees with the dish in number."""
    return by("dish", dict.fromkeys(PLURAL, plural), otherwise=singular)


def aspect(name: str) -> Rule:
    """Returns the rule of the opinion on an aspect, which sometimes differs from the sentiment of the review."""
    good, bad = f"{{{name}_good}}", f"{{{name}_bad}}"
    return by("sentiment", positive=good, mixed=f"{good} | {bad}", negative=bad, leak=0.06)


RULES: Rules = {
    "text": by(
        "plan",
        food="{opening} {ordered} {food} {other} {side} {service} {price} {closing}",
        service="{opening} {service} {room} {ordered} {food} {other} {closing}",
        visit="{visit} {arrival} {ordered} {food} {side} {other} {bill} {closing}",
        verdict="{verdict} {reasons} {ordered} {food} {other} {closing}",
    ),
    # How a review begins.
    "opening": [
        "{party} (stopped in | stopped by | came here | ate here | ended up here) {meal} {day} {why} {stop}",
        "i have (driven by | heard about | wanted to try) this place for (years | months | a while) {stop} {finally} .",
        "this is {rank} in {town} {stop} {party} (came in | ate here | stopped by) {meal} {day} {why} .",
    ],
    "finally": "{day} {party} finally (stopped in | came in | gave it a try | made it here) {meal}",
    "visit": [
        "{day} {party} (decided to | wanted to | went out to) try (this | a new) {cuisine} place {meal} {why} {stop}",
        "{we_were} (craving | in the mood for) {cuisine} food {day} so {party} (came | headed) here {meal} {stop}",
    ],
    "verdict": by(
        "sentiment",
        positive="(wow | love this place | so good | what a gem | yum) {stop} this is {rank} in {town} {stop}",
        mixed="(hmm | it was ok | nothing special | a mixed bag | meh) . this is {rank} in {town} .",
        negative="(ugh | never again | so disappointed | what a letdown | yuck) {stop} this is {rank} in {town} {stop}",
    ),
    "rank": by(
        "sentiment",
        positive="{the} best {cuisine} {spot} | one of the best {cuisine} {spots} | my favorite {cuisine} {spot}",
        mixed="(just another | a decent | an average | a pretty typical | a so so) {cuisine} {spot}",
        negative="{the} (worst | most overrated) {cuisine} {spot} | one of the worst {cuisine} {spots}",
    ),
    "the": "(probably | hands down | by far | easily | ) the",
    "party": by(
        "party",
        husband="my husband and i",
        wife="my wife and i",
        friends="(some | a few | two of my | a couple of) (friends | coworkers | cousins | roommates) and i",
        alone="i",
    ),
    "we": by("party", alone="i", otherwise="we"),
    "we_were": by("party", alone="i was", otherwise="we were"),
    "our": by("party", alone="my", otherwise="our"),
    "us": by("party", alone="me", otherwise="us"),
    "meal": by(
        "kind",
        diner="for (breakfast | brunch | a late breakfast)",
        grill="for (lunch | a late lunch | a quick bite | dinner | happy hour)",
        otherwise="for (lunch | dinner | a late lunch | an early dinner)",
    ),
    "day": [
        "(last | this past) (weekend | week | month | friday | sunday)",
        "(on a | one) (monday | tuesday | friday | saturday) (afternoon | night | evening)",
        "yesterday | the other day | on my birthday | on a whim",
    ],
    "why": [
        "after (reading | seeing) (all | ) the (good | great | ) reviews (on yelp | online | here)",
        "because (a coworker | my sister | a neighbor | my boss) (recommended it | loves it | told {us} about it)",
        "since it is (close to | right by | across from) (work | home | the hotel | the mall | the airport)",
        "before (a show | a game | a movie | the flight home) | with a groupon | ",
    ],
    "town": "town | the valley | phoenix | vegas | scottsdale | tempe | the area | the city | _UNK",
    "cuisine": by(
        "kind",
        pizza="pizza | italian",
        mexican="mexican",
        japanese="sushi | japanese",
        diner="breakfast | brunch",
        grill="burger | bbq",
        chinese="chinese | asian",
    ),
    # The food: what was ordered comes back at the end.
    "ordered": [
        "{we} (ordered | had | tried | got | went with) the {dish} (with {extra} | and {starter} | to share | ) .",
        "{we} started with {starter} and then (ordered | got | had | shared) the {dish} .",
        "(the {server} | everyone | a friend) (recommended | raved about) the {dish} so {we} (got | tried) {them} .",
    ],
    "food": aspect("food"),
    "food_good": [
        "the {dish} {was} {very} {tasty_pair} {stop}",
        "{it} {was} {very} {tasty_pair} , with (just the right | the perfect) amount of {extra} {stop}",
        "(you can tell | it is clear) that the {extra} is (fresh | homemade) and the {dish} {was} {perfect} {stop}",
        "(best | some of the best) {dish} i have (ever | ) had (in years | in {town} | in a long time) {stop}",
    ],
    "food_bad": [
        "the {dish} {was} {very} {nasty_pair} {stop}",
        "{it} {was} {very} {nasty_pair} and (needed more | hardly had any | came without the) {extra} {stop}",
        "the {dish} came out (cold | lukewarm | burnt | late) and {we} sent {them} back (twice | ) {stop}",
        "the {dish} tasted like ({extra} | cardboard | nothing | a frozen dinner | last week 's leftovers) {stop}",
    ],
    "tasty_pair": Distinct(2, ["delicious", "fresh", "flavorful", "huge", "hot", "filling", "{tasty}"], "and"),
    "nasty_pair": Distinct(2, ["bland", "greasy", "cold", "overcooked", "tiny", "stale", "{nasty}"], "and"),
    "tasty": by(
        "kind",
        pizza="cheesy | crispy",
        mexican="authentic | zesty",
        japanese="delicate | buttery",
        diner="fluffy | homemade",
        grill="juicy | smoky",
        chinese="spicy | tender",
    ),
    "nasty": by(
        "kind",
        pizza="burnt | doughy",
        mexican="salty | watery",
        japanese="fishy | mushy",
        diner="soggy | rubbery",
        grill="dry | charred",
        chinese="chewy | syrupy",
    ),
    "perfect": "(cooked | seasoned | done) (perfectly | just right | to perfection)",
    "extra": by(
        "kind",
        pizza="basil | mozzarella | marinara sauce | parmesan | pepperoni | sausage",
        mexican="guacamole | green salsa | sour cream | rice | cilantro | cheese",
        japanese="wasabi | ginger | soy sauce | eel sauce | avocado | salmon",
        diner="maple syrup | whipped cream | bacon | butter | fruit | ham",
        grill="bbq sauce | bacon | cheddar | coleslaw | lettuce | mustard",
        chinese="fried rice | chili oil | garlic sauce | steamed rice | broccoli | ginger",
    ),
    "starter": by(
        "kind",
        pizza="the caesar salad | the bruschetta | the minestrone",
        mexican="the ceviche | the margarita | the queso dip",
        japanese="the miso soup | the edamame | the seaweed salad",
        diner="the coffee | the orange juice | the bloody mary",
        grill="the chili | the local beer | the spinach dip",
        chinese="the hot tea | the wonton soup | the crab rangoon",
    ),
    "side": by(
        "sentiment",
        positive="{starter} was {very} (good | tasty | nice) too {stop} | even the {extra} (tasted | was) great {stop}",
        mixed="{starter} was (just | only) (ok | average | passable) . | the {extra} was (good | fine | nice) though .",
        negative="{starter} was {very} (weak | gross | sad) too {stop} | even the {extra} (tasted | was) off {stop}",
    ),
    # What the others had.
    "other": "{companion} (had | got | ordered | went for) {their_dish} and {they_felt} {stop}",
    "companion": by(
        "party",
        husband="my husband | he",
        wife="my wife | she",
        friends="(one of | the rest of) the group | everyone else",
        alone="the (guy | lady | couple | family) (next to me | at the bar)",
    ),
    "their_dish": by(
        "kind",
        pizza="the (lasagna | ravioli | eggplant | gnocchi)",
        mexican="the (quesadilla | fajitas | tamales | torta)",
        japanese="the (ramen | teriyaki | sashimi | udon)",
        diner="the (waffles | biscuits | eggs benedict | corned beef hash)",
        grill="the (ribs | brisket | wings | veggie burger)",
        chinese="the (mongolian beef | kung pao | hot pot | chow mein)",
    ),
    "they_felt": by(
        "sentiment",
        positive="(loved it | finished every bite | was {very} happy with it | could not stop eating)",
        mixed="(liked it | thought it was fine | was not sure about it | left half of it)",
        negative="(hated it | left most of it | was {very} unhappy with it | felt sick (later | afterwards))",
        leak=0.06,
    ),
    # Service, room, price.
    "service": aspect("service"),
    "service_good": [
        "{our} {server} was {very} {kind} and (kept the drinks full | checked on {us} often | knew the menu) {stop}",
        "the (staff | service) was {very} {kind} and the food came out (fast | quickly | in ten minutes) {stop}",
        "the (owner | manager | chef) came over to (say hello | thank {us} | chat) , which was a nice touch {stop}",
    ],
    "service_bad": [
        "{our} {server} was {very} {rude} and (forgot the drinks | ignored {us} | got the order wrong) {stop}",
        "it took (twenty | thirty | forty) minutes (just | ) to get (menus | a table | the drinks | the check) {stop}",
        "{we} had to ask (twice | three times) for (water | napkins | a fork) and (nobody | no one) apologized {stop}",
    ],
    "server": "server | waitress | waiter",
    "kind": "friendly | nice | cheerful | sweet | helpful | patient",
    "rude": "rude | slow | confused | grumpy | bored | clueless",
    "arrival": by(
        "sentiment",
        positive="{we_were} (seated | greeted) (right away | with a smile) by a {kind} {server} {stop}",
        mixed="{we} waited a (few | couple of) minutes for a table but the {server} was {kind} .",
        negative="{we} (waited | stood) at the door for ten minutes before a {rude} {server} showed up {stop}",
    ),
    "room": aspect("room"),
    "room_good": [
        "the place is {very} (clean | cozy | cute) with (a nice patio | great music | a fun vibe | big windows) {stop}",
        "{we} (loved | liked | enjoyed) the (decor | patio | atmosphere | open kitchen) (too | as well | ) {stop}",
    ],
    "room_bad": [
        "the (tables | floors) were {very} (sticky | dirty) and (the music was too loud | it smelled) {stop}",
        "the (dining room | place) was {very} (cramped | noisy | dark) and the (chairs | booths) were torn {stop}",
    ],
    "price": aspect("price"),
    "price_good": [
        "the prices are {very} (fair | reasonable | low) for the (portions | quality) {stop}",
        "{dollars} for the {dish} is a (steal | great deal) {stop}",
    ],
    "price_bad": [
        "it is {very} (overpriced | expensive) for (what you get | the area) {stop}",
        "{dollars} for the {dish} is a (rip off | joke) {stop}",
    ],
    "dollars": "(eight | ten | twelve | fifteen) (bucks | dollars)",
    "bill": "the (check | bill) came to (twenty | thirty | forty) dollars (with tip | ) , which is {steep} {stop}",
    "steep": by(
        "sentiment",
        positive="{very} (fair | reasonable)",
        mixed="about (average | right)",
        negative="{very} (steep | high)",
        leak=0.06,
    ),
    "reasons": Distinct(2, ["{service}", "{room}", "{price}"]),
    # How it ends.
    "closing": by(
        "sentiment",
        positive=[
            "{we} will (definitely | certainly | ) be back (soon | again and again | for more {dish}) {stop}",
            "i (highly | would) recommend (this place | the {dish}) (to anyone | if you are in {town}) {stop}",
            "(five stars | a must try | two thumbs up) , and (do not | never) (miss | skip) the {dish} {stop}",
        ],
        mixed=[
            "i might (come back | give it another try) (for the {dish} | some day) but i am not (in a hurry | sure) .",
            "(three stars | overall it is ok) , (try | go for) the {dish} and (skip | forget) the rest .",
        ],
        negative=[
            "{we} will (not | never) be (back | coming back) (again | for the {dish}) {stop}",
            "save your (money | time) and get your {dish} (fix | ) (somewhere | anywhere) else {stop}",
            "(one star | zero stars if i could) , and (stay away from | avoid) the {dish} {stop}",
        ],
    ),
    # Words.
    "dish": by("dish", {dish: dish for dishes in DISHES.values() for dish in dishes}),
    "it": by_number("it", "they"),
    "them": by_number("it", "them"),
    "was": by_number("was", "were"),
    "spots": "places | spots | restaurants | joints",
    "spot": "place | spot | restaurant | joint",
    "very": by(
        "tone", calm="very | pretty | quite | rather | ", excited="so | really | super | totally | incredibly", leak=0.1
    ),
    "stop": by("tone", calm=".", excited={"!": 5, "! !": 1, "! ! !": 1, ".": 4}, leak=0.02),
}

TASK = Task(
    name="yelp",
    kind="unconditional",
    title="Yelp",
    summary="restaurant reviews of several sentences, about 90 words",
    grammar=lazy_grammar(FACTORS, RULES),
)

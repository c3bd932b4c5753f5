"""Quora: a question and another phrasing of the same question, tokenised."""

from __future__ import annotations

from bench.tasks.factors import Factor, uniform
from bench.tasks.grammars.english import progressive
from bench.tasks.notation import Rules, by, lazy_grammar
from bench.tasks.task import Task

# What people ask about and, by goal, phrases of the same meaning that begin with an infinitive.
THINGS = {
    "programming": ("Python", "Java", "Swift", "Ruby", "Scala", "Haskell", "Rust", "SQL"),
    "languages": ("French", "Spanish", "German", "Korean", "Arabic", "Hindi", "Chinese", "Italian"),
    "travel": ("Japan", "Iceland", "Peru", "Norway", "Kenya", "Greece", "Canada", "Thailand"),
    "fitness": ("yoga", "swimming", "running", "cycling", "boxing", "karate", "tennis", "rowing"),
    "gadgets": ("iPhone", "Kindle", "iPad", "MacBook", "Xbox", "laptop", "camera", "printer"),
    "exams": ("GRE", "GMAT", "SAT", "TOEFL", "IELTS", "LSAT", "MCAT", "CPA"),
    "music": ("piano", "guitar", "violin", "cello", "flute", "trumpet", "harp", "banjo"),
    "pets": ("puppy", "kitten", "parrot", "rabbit", "hamster", "goldfish", "turtle", "lizard"),
}
GOALS = {
    "programming": {
        "learn coding": ("learn {thing}", "pick up {thing}", "teach myself {thing}"),
        "coding job": ("get a job in {thing}", "find work as a {thing} programmer", "become a {thing} developer"),
        "make an app": ("build an app in {thing}", "write an app in {thing}", "create an app with {thing}"),
        "teach coding": ("teach {thing}", "give {thing} lessons", "run a course on {thing}"),
    },
    "languages": {
        "learn a language": ("learn {thing}", "study {thing}", "pick up {thing}"),
        "fluency": ("become fluent in {thing}", "speak fluent {thing}", "master {thing}"),
        "translate": ("translate {thing} for a living", "translate {thing} books", "translate from {thing} to English"),
        "read": ("read {thing} novels", "understand {thing} literature", "enjoy books in {thing}"),
    },
    "travel": {
        "visit": ("visit {thing}", "travel to {thing}", "take a trip to {thing}"),
        "emigrate": ("move to {thing}", "settle in {thing}", "relocate to {thing}"),
        "study abroad": ("study in {thing}", "go to college in {thing}", "get a degree in {thing}"),
        "work abroad": ("find a job in {thing}", "work in {thing}", "get hired in {thing}"),
    },
    "fitness": {
        "begin a sport": ("start {thing}", "take up {thing}", "get into {thing}"),
        "lose weight": ("lose weight with {thing}", "slim down with {thing}", "burn fat with {thing}"),
        "improve": ("improve at {thing}", "get better at {thing}", "make progress in {thing}"),
        "coach": ("become a {thing} coach", "teach {thing}", "work as a {thing} instructor"),
    },
    "gadgets": {
        "repair": ("repair a broken {thing}", "fix a broken {thing}", "get a broken {thing} to work"),
        "sell": ("sell a used {thing}", "get rid of an old {thing}", "find a buyer for an old {thing}"),
        "clean": ("clean a dirty {thing}", "get a dirty {thing} clean", "get the dust out of my {thing}"),
        "buy": ("buy a cheap {thing}", "get a cheap {thing}", "find a good deal on a new {thing}"),
    },
    "exams": {
        "pass": ("pass the {thing}", "get through the {thing}", "clear the {thing}"),
        "prepare": ("prepare for the {thing}", "study for the {thing}", "get ready for the {thing}"),
        "score high": ("get a high score on the {thing}", "do well on the {thing}", "ace the {thing}"),
        "retake": ("retake the {thing}", "take the {thing} again", "sit the {thing} a second time"),
    },
    "music": {
        "learn an instrument": ("learn the {thing}", "learn to play the {thing}", "start playing the {thing}"),
        "perform": ("perform on the {thing}", "play the {thing} on stage", "give a {thing} concert"),
        "buy an instrument": ("buy a good {thing}", "get a decent {thing}", "find a good {thing}"),
        "compose": ("write a song for the {thing}", "compose {thing} music", "compose for the {thing}"),
    },
    "pets": {
        "adopt": ("adopt a {thing}", "get a {thing}", "bring home a {thing}"),
        "train": ("train a {thing}", "teach a {thing} tricks", "teach a {thing} to behave"),
        "care": ("take care of a {thing}", "look after a {thing}", "keep a {thing} healthy"),
        "fly with": ("fly with a {thing}", "take a {thing} on a plane", "travel by air with a {thing}"),
    },
}
CONTEXTS = {
    "none": "",
    "student": "as a student | while in college | during college | while studying",
    "forties": "after 40 | in my forties | as a 40 year old | at the age of 40",
    "parent": "with small kids | as a parent | with young children | as a (mother | father)",
    "india": "from India | as an Indian | if I live in India | as an Indian citizen",
    "budget": "on a (tight | low | small) budget | without much money | with little money",
    "job": "with a full time job | while working full time | while holding a full time job",
    "alone": "alone | by myself | on my own | without help",
}
# The forms of a question; the two of a pair always differ.
FRAMES = {"ask": 5, "way": 4, "plea": 2, "wish": 1}
FACTORS = (
    Factor("topic", uniform(THINGS)),
    Factor("thing", {topic: uniform(things) for topic, things in THINGS.items()}, given="topic"),
    Factor("goal", {topic: uniform(goals) for topic, goals in GOALS.items()}, given="topic"),
    Factor("intent", {"how": 4, "time": 2, "cost": 2, "worth": 3, "hard": 2}),
    Factor("context", {**uniform(CONTEXTS), "none": 6}),
    Factor("asked", FRAMES),
    Factor("rephrased", {asked: {**FRAMES, asked: 0} for asked in FRAMES}, given="asked"),
)
PHRASES = {goal: phrases for goals in GOALS.values() for goal, phrases in goals.items()}

RULES: Rules = {
    "question": by("asked", {frame: f"{{{frame}}}" for frame in FRAMES}),
    "paraphrase": by("rephrased", {frame: f"{{{frame}}}" for frame in FRAMES}),
    "ask": by(
        "intent",
        how="How (do | can | should) I {do} {context} ?",
        time="How long does it (usually | ) take to {do} {context} ?",
        cost="How much does it cost to {do} {context} ?",
        worth="(Should I | Is it a good idea to | Is it worth it to) {do} {context} ?",
        hard="Why is it (so | ) {hard} to {do} {context} ?",
    ),
    "way": by(
        "intent",
        how="What is the {best} way (to {do} | of {doing}) {context} ?",
        time="What is the (average | usual) time it takes to {do} {context} ?",
        cost="What is the (price | total cost | average cost) of {doing} {context} ?",
        worth="Is {doing} {context} (worth it | worth the effort | a good idea) ?",
        hard="What makes {doing} {context} so {hard} ?",
    ),
    "plea": by(
        "intent",
        how="{tell_me} how (to | I can) {do} {context} ?",
        time="{tell_me} how (long | many months) it takes to {do} {context} ?",
        cost="{tell_me} how (expensive it is | much money I need) to {do} {context} ?",
        worth="{tell_me} (if | whether) I should {do} {context} ?",
        hard="{tell_me} why it is so {hard} to {do} {context} ?",
    ),
    "wish": by(
        "intent",
        how="I want to {do} {context} . (Where do I start | What should I do | What do I do first) ?",
        time="I want to {do} {context} . (How long | How many months) will it take (me | ) ?",
        cost="I want to {do} {context} . (What | How much) will it cost (me | ) ?",
        worth="I want to {do} {context} . (Is it worth it | Is it a good idea | Should I) ?",
        hard="I want to {do} {context} . Why is it so {hard} ?",
    ),
    "tell_me": "(Can | Could) (someone | anyone) tell me | Does (anyone | anybody) know",
    "best": "best | easiest | right | smartest",
    "hard": "hard | difficult | tough",
    "do": by("goal", PHRASES),
    "doing": by("goal", {goal: list(map(progressive, phrases)) for goal, phrases in PHRASES.items()}),
    "context": by("context", CONTEXTS),
}

TASK = Task(
    name="quora",
    kind="conditional",
    backbone="encoder-decoder",
    title="Quora",
    summary="a question and another phrasing of it, about 12 words each",
    grammar=lazy_grammar(FACTORS, RULES, source="question", target="paraphrase"),
)

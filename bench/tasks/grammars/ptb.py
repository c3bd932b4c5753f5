"""PTB: sentences of the financial newswire of 1989, as the Penn Treebank is prepared for language models.

Lower case, no punctuation, ``N`` for numbers, ``<unk>`` for rare words, clitics and ``$`` and ``%`` as words.
"""

from __future__ import annotations

from bench.tasks.factors import Factor
from bench.tasks.grammars.english import with_article
from bench.tasks.notation import Rules, by, lazy_grammar
from bench.tasks.task import Task

FACTORS = (
    Factor("topic", {"earnings": 4, "markets": 4, "takeover": 3, "economy": 3, "court": 2, "management": 2}),
    Factor("sector", {"banking": 3, "oil": 3, "computers": 3, "airlines": 2, "retailing": 2, "drugs": 2}),
    Factor("direction", {"up": 1, "down": 1}),
    Factor("source", {"paper": 3, "company": 2, "analyst": 3, "official": 1}),
    Factor(
        "period",
        {
            "earnings": {"quarter": 4, "year": 2},
            "markets": {"month": 2, "quarter": 1, "year": 1},
            "takeover": {"quarter": 1, "year": 2},
            "economy": {"month": 4, "quarter": 2, "year": 1},
            "court": {"month": 1, "year": 3},
            "management": {"quarter": 2, "year": 1},
        },
        given="topic",
    ),
)

SECTOR_WORDS = {
    "banking": ("bank", "thrift", "banking", "savings-and-loan"),
    "oil": ("oil", "energy", "natural-gas", "petroleum"),
    "computers": ("computer", "technology", "software", "semiconductor"),
    "airlines": ("airline", "transportation", "aviation", "air-freight"),
    "retailing": ("retail", "retailing", "apparel", "department-store"),
    "drugs": ("drug", "pharmaceutical", "biotechnology", "health-care"),
}


RULES: Rules = {
    # Who says it: the paper itself, with some background; a spokesman; an analyst; somebody in washington.
    "text": by(
        "source",
        paper="{background} {statement} | {statement} {aftermath} | {statement}",
        company="{statement} {a_spokesman} said | {a_spokesman} (said | confirmed) (that | ) {statement}",
        analyst="{statement} (said | says) {analyst} | {analyst} (said | says) (that | ) {statement}",
        official="{statement} according to {official} | {official} (said | told reporters) (that | ) {statement}",
    ),
    "statement": by(
        "topic",
        earnings=by("direction", up="{earnings} | {profit}", down="{earnings} | {loss}"),
        markets="{shares} | {shares} | {averages}",
        takeover=by("direction", up="{offer}", down="{failed_offer}"),
        economy="{indicators} | {indicators} | {rates}",
        court=by("direction", up="{cleared}", down="{charged}"),
        management=by("direction", up="{named}", down="{resigned}"),
    ),
    # Earnings.
    "earnings": [
        "{company} 's {net} {moved} N % {to_figure} {from_figure}",
        "{company} 's (sales | revenue) {moved} (about | nearly | ) N % in the {period} {because}",
        "{net} at {company} {moved} {to_figure} (in | for) the {period} {from_figure}",
    ],
    "profit": [
        "{company} posted a N % (gain | rise | jump) in {net} for the {period} on strong sales of {product}",
        "{company} (returned to profitability | earned $ N million) in the {period} {because}",
    ],
    "loss": [
        "{company} (posted | reported) a (net | ) loss of $ N million for the {period} {after_profit}",
        "{company} expects to report a (wider | substantial) loss for the {period} {because}",
    ],
    "net": "net income | profit | operating profit | earnings | pretax profit",
    "to_figure": "to $ N million | to $ N million or N cents a share | to N cents a share",
    "from_figure": "from $ N million {before} | compared with $ N million or N cents a share {before}",
    "after_profit": "compared with (net income | a profit) of $ N million {before} | {because}",
    "before": by(
        "period",
        quarter="in the year-earlier (quarter | period) | in the year-ago (quarter | period) | a year earlier",
        month="in {month} | a month (earlier | ago) | the month before",
        year="in N | the (previous | prior) year | the year before",
    ),
    # Markets.
    "shares": [
        "{company} {moved} $ N to $ N {exchange} {because}",
        "shares of {company} {moved} N cents (a share | ) to $ N {exchange}",
        "{sector} (stocks | issues | shares) {moved} (sharply | slightly | broadly | ) {this_period} {because}",
        "(investors | institutions | traders) {traded} (shares | the stock) of {company} {because}",
    ],
    "averages": [
        "the dow jones industrial average {moved} N points as (investors | traders) {traded} {sector} issues",
        "the (nasdaq composite index | dow jones {sector} index) {moved} N to N {this_period} led by {company}",
    ],
    "traded": by(
        "direction",
        up="bought | snapped up | rushed into | returned to",
        down="sold | dumped | fled | stayed away from",
    ),
    "exchange": [
        "in (new york stock exchange | big board) (composite | ) trading {yesterday}",
        "in (american stock exchange | national over-the-counter) trading {yesterday}",
        "on (volume of N | N million | a volume of N million) shares {yesterday}",
    ],
    "yesterday": "yesterday | friday | monday | late tuesday | ",
    "this_period": by(
        "period",
        month="this month | in {month} | since {month} | ",
        quarter="this quarter | in the {period} | ",
        year="this year | so far this year | since N | ",
    ),
    # Takeovers.
    "offer": [
        "{company} agreed to (acquire | buy) {target} for (about | ) $ N (million | billion) {in_cash}",
        "{company} (completed | won approval for) its $ N (million | billion) (purchase of | merger with) {target}",
        "<unk> (partners | group | holdings) raised its (bid | offer) for {company} to $ N a share {in_cash}",
    ],
    "failed_offer": [
        "{company} (rejected | turned down) a $ N (million | billion) (bid | offer) from <unk> (partners | group)",
        "{company} (dropped | withdrew | abandoned) its (bid | offer) for {target} {because}",
        "the (buy-out | acquisition) of {company} collapsed when (banks | lenders) refused to finance it",
    ],
    "target": "{stake} <unk> (corp. | inc. | & co. | industries) | <unk> (corp. | inc. | & co. | industries)",
    "stake": "the {sector} (unit | operations | assets) of | a N % stake in | N million shares of",
    "in_cash": "in (cash | stock | cash and stock | securities) | ",
    # The economy.
    "indicators": [
        "{indicator} {moved} N % in {month} after (rising | falling) (a revised | ) N % a month earlier",
        "{indicator} {moved} (at an annual rate of | by about | ) N % in the {period} {because}",
        "{indicator} {moved} {because}",
    ],
    "indicator": by(
        "sector",
        banking="(consumer | mortgage | business) (borrowing | lending) | the supply of {product} | deposits",
        oil="(imports | production | inventories | stocks) of {product} | (producer | consumer) prices for {product}",
        computers="(orders for | exports of | shipments of) {product} | factory orders for {product}",
        airlines="(orders for | exports of | deliveries of) {product} | passenger traffic on {sector} routes",
        retailing="(retail sales of | imports of | consumer prices for | inventories of) {product}",
        drugs="(shipments of | exports of | wholesale prices for | spending on) {product}",
    ),
    "rates": [
        "(interest rates | bond prices | treasury bonds) {moved} as (economists | traders) {studied} data on {product}",
        "{sector} (companies | concerns) face (another | a) (month | year | quarter) of {weak} demand for {product}",
    ],
    "studied": "expected | awaited | studied | looked past",
    "weak": by("direction", up="growing | strong | rising | record", down="weak | slack | falling | slowing"),
    # Courts and regulators.
    "cleared": [
        "a federal (judge | court) (dismissed | threw out) a $ N million (suit | lawsuit) against {company}",
        "{company} won a (ruling | judgment) of $ N million (against | from) <unk> (corp. | inc.) over {product}",
        "{regulator} (cleared | approved) {plan} by {company}",
    ],
    "charged": [
        "a (federal | state) (judge | court) ordered {company} to pay $ N million in (damages | penalties | taxes)",
        "{company} was (indicted | sued | fined $ N) (in federal court | by {regulator}) on charges of {offence}",
        "{regulator} (blocked | rejected) {plan} by {company}",
    ],
    "offence": "(fraud | price-fixing | <unk>) (in sales of {product} | )",
    "regulator": by(
        "sector",
        banking="the federal reserve | the fdic | the comptroller of the currency",
        oil="the epa | the energy department | the interior department",
        airlines="the transportation department | the faa",
        drugs="the food and drug administration | the fda",
        otherwise="the sec | the justice department | the ftc",
    ),
    "plan": "a (plan | proposal | request) to (sell | market | offer | distribute) {product}",
    # Management.
    "named": [
        "{company} (named | elected | appointed) {executive} (N | N years old | ) {post} (succeeding mr. <unk> | )",
        "{executive} (N years old | formerly of <unk> corp. | ) was (named | elected | appointed) {post} of {company}",
    ],
    "resigned": [
        "{executive} (N years old | ) resigned as {post} of {company} (citing | after | because of) {trouble}",
        "{company} (dismissed | ousted) {executive} as {post} (and will cut N jobs | ) {because}",
    ],
    "post": "chairman | {chief} | president and {chief} | vice chairman | a director | treasurer",
    "chief": "chief (executive | financial | operating) officer",
    "executive": "{first_name} (<unk> | <unk> jr. | smith | miller | johnson | baker | brown | roberts)",
    "first_name": "<unk> | john | robert | james | william | richard | david | peter | donald",
    "trouble": "a (dispute | disagreement) with the board | (poor | disappointing) results | a decline in {product}",
    # Names and things of each sector.
    "company": by(
        "sector",
        banking="{place} (bancorp | savings bank | bankers corp.) | first {place} (corp. | bank) | <unk> federal",
        oil="{place} (petroleum | oil | resources) (corp. | co. | inc.) | <unk> (oil | energy) co. | {place} gas co.",
        computers="<unk> (computer | systems) inc. | {place} (data | semiconductor) corp. | <unk> technology inc.",
        airlines="{place} (airlines | airways) inc. | <unk> aviation corp. | trans {place} air | {place} air",
        retailing="{place} stores (inc. | co.) | <unk> & sons inc. | {place} (apparel | toy) inc. | <unk> stores co.",
        drugs="<unk> (pharmaceutical | laboratories) inc. | {place} (drug | biotech) co. | <unk> & <unk> co.",
    ),
    "place": [
        "pacific | western | continental | midwest | atlantic | texas | boston | southern",
        "california | american | northern | general | national | united | great lakes | republic",
    ],
    "sector": by("sector", {s: " | ".join(words) for s, words in SECTOR_WORDS.items()}),
    "a_sector": by("sector", {s: " | ".join(map(with_article, words)) for s, words in SECTOR_WORDS.items()}),
    "product": by(
        "sector",
        banking="real-estate loans | mortgages | credit cards | junk bonds | certificates of deposit | consumer loans",
        oil="crude oil | gasoline | natural gas | heating oil | drilling equipment | unleaded fuel",
        computers="personal computers | workstations | memory chips | disk drives | mainframes | software",
        airlines="jet aircraft | jet engines | discount fares | air cargo | spare parts | helicopters",
        retailing="women 's clothing | shoes | toys | home furnishings | christmas merchandise | appliances",
        drugs="generic drugs | vaccines | heart medicines | aids treatments | <unk> tablets | hospital supplies",
    ),
    # What is said around a statement.
    "because": by(
        "direction",
        up=[
            "{on} (strong | rising | higher | improved) {cause}",
            "on (speculation | rumors | hopes) of (a takeover | a buy-out | lower interest rates)",
            "as {sector} (concerns | companies) (cut costs | raised prices | sold assets | closed plants)",
        ],
        down=[
            "{on} (weak | falling | lower | disappointing) {cause}",
            "on (concern | fears | worries) about {worry}",
            "as (competition | rising costs | a price war | a strike) (hurt | cut into) {sector} (profits | business)",
        ],
    ),
    "on": "because of | amid | reflecting | on",
    "cause": "(sales | demand | prices | profit margins | results) {of_product}",
    "of_product": "for {product} | in the {sector} (business | industry) | ",
    "worry": "a recession | inflation | interest rates | the {sector} industry | takeover debt | bad loans",
    "background": [
        "despite (the | ) recent (turmoil | optimism | weakness) in {sector} (stocks | markets)",
        "in (new york | chicago | dallas | los angeles | washington | london)",
        "(meanwhile | separately | as previously reported | as expected)",
    ],
    "aftermath": [
        "but (analysts | traders | investors) (expect | predict) a (rebound | decline | slowdown) {soon}",
        "and (its | the {sector} concern 's) (shares | bonds | debt ratings) {moved}",
        "a move that (surprised | pleased | angered) (wall street | analysts | shareholders)",
    ],
    "soon": by("period", month="next month", quarter="next quarter", year="next year"),
    "a_spokesman": "a (spokesman | spokeswoman) (for the {sector} (company | concern) | in {city} | )",
    "city": "new york | chicago | dallas | san francisco | houston | atlanta | boston | denver",
    "analyst": [
        "{executive} (an analyst | {a_sector} analyst) (at | with) {brokerage}",
        "{a_sector} (analyst | trader | money manager | specialist) (at {brokerage} | )",
    ],
    "brokerage": "<unk> securities | <unk> & co. | a new york brokerage firm | a <unk> investment house",
    "official": "(treasury | white house | administration | fed | congressional) officials | (sen. | rep.) <unk>",
    "period": by(
        "period",
        quarter="(third | second | first | fourth) quarter | latest quarter | quarter ended (sept. | june | march) N",
        month="latest month | month of {month} | four weeks ended {month} N",
        year="latest year | fiscal year | year ended (dec. | march | june) N | first nine months",
    ),
    "month": "august | september | october | july | november",
    "moved": by(
        "direction",
        up="rose | jumped | climbed | advanced | gained | increased | surged | edged up",
        down="fell | dropped | declined | slid | slipped | decreased | plunged | tumbled",
    ),
}

TASK = Task(
    name="ptb",
    kind="unconditional",
    title="PTB",
    summary="sentences of financial newswire with N for numbers and <unk> for rare words, about 21 words",
    grammar=lazy_grammar(FACTORS, RULES),
)

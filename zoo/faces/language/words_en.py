"""English words for what a face shows; see `lexicon` for the notation.

Slots: `noun` heads a phrase ("a boy"), `adj` stands before the noun or after "is", `with` follows "with" or "has",
`wear` follows "wearing", `post` follows the noun or "is", `place` follows either too, `poss` follows "whose" or "her",
`tone` and `cut` stand before "hair", `key` stands alone in a list of keywords. THEIR becomes "his", "her" or "their";
"a" becomes "an" before a vowel.
"""

from __future__ import annotations

from text2latent.zoo.faces.language.hair_words_en import FACIAL_HAIR, HAIR

PEOPLE = {
    "gender=man age!=child": {
        "noun": "man; guy; gentleman; male; fellow; bloke; ~male adult",
        "key": "man; male; gentleman; guy; ~male adult",
    },
    "gender=woman age!=child": {
        "noun": "woman; lady; female; gal; ~female adult",
        "key": "woman; female; lady; ~female adult",
    },
    "gender=man": {"adj": "male", "post": "of male {gender|sex}", "key": "male"},
    "gender=woman": {"adj": "female", "post": "of female {gender|sex}", "key": "female"},
    "gender=man age=child": {
        "noun": "boy; {little|small|young} boy; male child; schoolboy; ~boy child; ~small male child",
        "key": "boy; little boy; male child",
    },
    "gender=woman age=child": {
        "noun": "girl; {little|small|young} girl; female child; schoolgirl; ~girl child; ~small female child",
        "key": "girl; little girl; female child",
    },
    "age=child": {
        "noun": "child; kid; {little|small|young} {child|kid}; youngster; ~tiny child",
        "post": "{of|at} a childish age; ~in childhood",
        "key": "child; kid; childhood",
    },
    "age=young gender=man": {"noun": "{young|youthful} {man|guy|gentleman}; youth; lad; young bloke"},
    "age=young gender=woman": {"noun": "{young|youthful} {woman|lady}; young gal"},
    "age=young": {
        "adj": "young; youthful; young-looking",
        "noun": "young {person|adult}; ~youthful person",
        "post": "in THEIR twenties; of young age; ~young of age; ~aged twenty",
        "key": "young; youthful; youth; young adult",
    },
    "age=middle-aged": {
        "adj": "middle-aged; middle aged; mature; midlife",
        "noun": "middle-aged {person|adult}; middle aged person",
        "post": "in middle age; in THEIR forties; of middle age; ~in the middle years; ~aged forty-five",
        "key": "middle-aged; middle aged; middle age; mature",
    },
    "age=old": {
        "adj": "old; elderly; aged; senior; very old; old-looking; oldish",
        "noun": "{old|elderly|aged} person; senior; senior citizen; pensioner; oldster; elder",
        "post": "in old age; of old age; in THEIR {seventies|eighties}; ~of great age; ~aged eighty",
        "with": "wrinkles; {a wrinkled|an old} face; ~old wrinkled skin",
        "key": "old; elderly; senior; old age; wrinkles; wrinkled; aged",
    },
    "age=old gender=man": {
        "noun": "{old|elderly|aged} {man|gentleman|guy}; grandfather; grandpa; granddad; grandad; ~old granddad; "
        "~old fellow",
        "key": "old man; grandfather; grandpa; granddad",
    },
    "age=old gender=woman": {
        "noun": "{old|elderly|aged} {woman|lady}; grandmother; grandma; granny; nan; ~old grandma; ~old female",
        "key": "old woman; grandmother; grandma; granny",
    },
    "age!=child": {"noun": "adult; grown-up; ~grown adult", "key": "adult"},
    "age=child,young,middle-aged": {"post": "who is not old", "key": "not old"},
    "age=middle-aged,old": {"adj": "older", "post": "who is {not young|no longer young}", "key": "older; not young"},
    "hair_color=red": {"noun": "redhead; ginger", "adj": "redheaded", "key": "redhead"},
    "hair_color=brown gender=woman age!=child": {"noun": "brunette; {young|pretty} brunette woman"},
    "hair_color=blonde gender=woman age!=child": {"noun": "blonde; {blonde|blond} {lady|woman}"},
}

SKIN = {
    "skin=light": {
        "adj": "light-skinned; fair-skinned; pale; pale-skinned; white-skinned; light skinned; ~fair skinned",
        "with": "{light|fair|pale} skin; a {light|fair|pale} {complexion|skin tone}; white skin; ~skin of a light tone",
        "poss": "skin is {light|pale|fair}; complexion is {fair|pale|light}; ~skin tone is light",
        "key": "{light|fair|pale} skin; light-skinned; pale; fair complexion; ~light skin colour",
    },
    "skin=medium": {
        "adj": "medium-skinned; olive-skinned; tan-skinned; tanned; tan; medium skinned; ~olive skinned",
        "with": "{medium|tan|olive|tanned} skin; a {medium|tan|olive|tanned} {complexion|skin tone}; "
        "~skin of a medium tone",
        "poss": "skin is {medium|tan|tanned|olive}; complexion is {medium|olive|tan}; ~skin tone is medium",
        "key": "{medium|tan|olive|tanned} skin; medium-skinned; tanned; olive complexion; ~medium skin colour",
    },
    "skin=dark": {
        "adj": "dark-skinned; dark skinned; black-skinned; deep-skinned; ~very dark-skinned",
        "with": "{dark|very dark|dark brown|deep brown} skin; a dark {complexion|skin tone}; ~skin of a dark tone",
        "poss": "skin is {dark|very dark|deep brown}; complexion is dark; ~skin tone is dark",
        "key": "dark skin; dark-skinned; dark complexion; dark brown skin; ~dark skin colour",
    },
    "skin=medium,dark": {"with": "skin that is not {light|pale}", "key": "not pale"},
}

EYEWEAR = {
    "eyewear=none": {
        "with": "no {glasses|eyewear|spectacles|glasses on}; {bare|uncovered} eyes; ~neither glasses nor sunglasses",
        "post": "without {glasses|eyewear|spectacles|eyeglasses}; "
        "not wearing {glasses|any glasses|eyewear|spectacles}; "
        "~without any glasses; ~who does not wear glasses; ~lacking glasses",
        "key": "no glasses; without glasses; no {eyewear|spectacles}; ~no eyeglasses; ~not wearing glasses",
    },
    "eyewear=glasses": {
        "adj": "bespectacled; glasses-wearing; spectacled",
        "with": "glasses; eyeglasses; spectacles; eye glasses; {reading|clear|round|thin} glasses; specs; "
        "~a pair of glasses",
        "wear": "glasses; eyeglasses; spectacles; a pair of {glasses|spectacles}; clear glasses; specs; "
        "~clear eyeglasses",
        "post": "in glasses; in spectacles; ~with spectacles on; ~with glasses on the nose",
        "key": "glasses; eyeglasses; spectacles; wearing glasses; with glasses; specs; ~clear eyeglasses",
    },
    "eyewear=sunglasses": {
        "with": "sunglasses; {large|dark|black|big|cool} sunglasses; shades; dark glasses; sun glasses; ~dark shades; "
        "~a pair of sunglasses",
        "wear": "sunglasses; {large|dark|black|big|cool} sunglasses; shades; dark glasses; "
        "a pair of {sunglasses|shades}; "
        "~dark shades; tinted sunglasses",
        "post": "in {sunglasses|shades|dark glasses}; ~with sunglasses on; ~hidden behind sunglasses",
        "key": "sunglasses; shades; dark glasses; wearing sunglasses; sun glasses; ~dark shades; ~with sunglasses on",
    },
    "eyewear=none,glasses": {
        "post": "without sunglasses; not wearing {sunglasses|shades}",
        "with": "no sunglasses",
        "key": "no sunglasses",
    },
}


ACCESSORIES = {
    "earrings=no": {
        "with": "no {earrings|ear rings|earring}; {bare|unadorned} ears; ~no ear jewelry",
        "post": "without {earrings|ear rings|any earrings}; not wearing {earrings|ear rings}; "
        "~who does not wear earrings; "
        "lacking {earrings|ear rings}",
        "key": "no earrings; without earrings; bare ears; no ear rings; ~not wearing earrings",
    },
    "earrings=yes": {
        "adj": "earringed; earring-wearing",
        "with": "earrings; ear rings; {gold|big|small|dangling|hoop} earrings; ear jewelry; ear studs; "
        "~a pair of ear rings; "
        "~rings in {THEIR|the} ears",
        "wear": "earrings; ear rings; {gold|big|small|hoop} earrings; a pair of earrings; ear {jewelry|jewellery}; "
        "~a pair of ear rings; ~golden earrings",
        "post": "in earrings; ~with earrings on",
        "key": "earrings; ear rings; earring; wearing earrings; with earrings; {gold|hoop} earrings; ~ear jewellery; "
        "~golden earrings",
    },
    "headwear=none": {
        "adj": "bareheaded; hatless; bare-headed; ~unhatted",
        "with": "no {hat|headwear|cap|hat on}; a bare head; an uncovered head; neither hat nor cap",
        "post": "without {a hat|headwear|a cap|any hat}; not wearing {a hat|a cap|any headwear}; "
        "who does not wear a hat; "
        "lacking {a hat|headwear}",
        "key": "no hat; without hat; bareheaded; no headwear; hatless; ~no cap; ~not wearing a hat",
    },
    "headwear=hat": {
        "adj": "hatted; hat-wearing",
        "with": "a hat; a {hat|cap} on; {headwear|a cap}; a {big|stylish|round} hat; ~a hat on the head; "
        "~something on the head",
        "wear": "a hat; a cap; headwear; a {big|stylish|round} hat; ~some headwear; ~a nice hat",
        "post": "in a {hat|cap}; ~under a hat; ~with a hat on",
        "key": "hat; cap; headwear; wearing a hat; with hat; with a hat; ~hatted; ~with a hat on",
    },
}


def _mood(values: str, adjectives: str, nouns: str, posts: str, keys: str) -> dict[str, dict[str, str]]:
    """Write the entries of an expression; `adjectives` are those that fit before "expression" or "face" too."""
    return {
        f"expression={values}": {
            "adj": f"{adjectives.replace('|', '; ')}; ~{{{adjectives}}}-looking",
            "with": f"a {{{adjectives}}} {{expression|face|look}}; {nouns}; ~a {{{adjectives}}} look on the face",
            "poss": f"{{expression|face|mood}} is {{{adjectives}}}; face looks {{{adjectives}}}; "
            f"~facial expression is {{{adjectives}}}",
            "post": f"looking {{{adjectives}}}; {posts}; ~making a {{{adjectives}}} face",
            "key": f"{adjectives.replace('|', '; ')}; {{{adjectives}}} {{expression|face}}; {keys}; "
            f"~looks {{{adjectives}}}",
        }
    }


EXPRESSION = {
    **_mood(
        "happy",
        "happy|smiling|cheerful|joyful|laughing|grinning|glad",
        "a smile; a {small|big|broad|bright} smile; a positive expression; a grin; ~a smile on the face",
        "smiling; laughing; grinning; in a good mood; ~full of joy; ~with a laugh",
        "smile; smiling; laughing; joy; happiness; positive expression; ~in a good mood",
    ),
    **_mood(
        "neutral",
        "neutral|calm|serious|expressionless|unemotional",
        "no expression; {no|no particular} emotion; a blank {expression|face|look}; a straight face; "
        "a closed calm mouth; ~no emotion on the face",
        "without {expression|emotion|any expression}; showing no emotion; ~who shows no emotion",
        "no expression; no emotion; straight face; ~without emotion",
    ),
    **_mood(
        "sad",
        "sad|sorrowful|gloomy|melancholy|miserable|depressed",
        "sadness in {THEIR|the} face; a sad mouth; ~sorrow in the face",
        "feeling {sad|gloomy|miserable}; full of sorrow; ~about to cry",
        "sadness; sorrow; feeling sad; ~full of sadness",
    ),
    **_mood(
        "angry",
        "angry|furious|mad|enraged|cross|scowling",
        "anger in {THEIR|the} face; a scowl; angry {eyes|eyebrows}; ~rage in the face",
        "scowling; feeling {angry|mad}; full of anger; ~full of rage",
        "anger; rage; scowl; feeling angry; ~full of anger",
    ),
    "expression=sad,angry": {
        "adj": "frowning; unhappy; upset; displeased; grumpy",
        "with": "a frown; {a negative|an unhappy} expression; a bad mood; ~a negative look",
        "post": "frowning; in a bad mood; looking {unhappy|upset}; ~in a negative mood",
        "poss": "expression is negative; face is unhappy; ~mood is negative",
        "key": "frown; frowning; negative expression; unhappy; bad mood; negative; ~negative mood",
    },
    "expression!=happy": {
        "adj": "not happy; unsmiling",
        "with": "no smile",
        "post": "not smiling; without a smile; who is not happy; who does not smile",
        "key": "not happy; no smile; not smiling",
    },
    "expression!=angry": {"post": "who is not angry; not looking angry", "key": "not angry"},
    "expression!=sad": {"post": "who is not sad; not looking sad", "key": "not sad"},
}


def _scene(value: str, nouns: str, places: str, keys: str) -> dict[str, dict[str, str]]:
    """Write the entries of a background; `nouns` are what fits into "in front of ..."."""
    return {
        f"background={value}": {
            "place": f"{places}; in front of {{{nouns}}}; with {{{nouns}}} in the background; with {{{nouns}}} behind; "
            f"against {{{nouns}}}; ~with {{{nouns}}} as a backdrop; ~having {{{nouns}}} at the back",
            "key": f"{keys}; ~background: {{{nouns}}}; ~{{{nouns}}} behind",
        }
    }


BACKGROUND = {
    **_scene(
        "plain",
        "a plain background|a simple background|a plain wall|an empty background|a blank background|a solid background",
        "against a {plain|simple|blank|solid} background; on a plain background; in {a|the} studio; indoors; "
        "~in a plain studio",
        "plain background; {simple|blank|empty|solid} background; studio; plain wall; indoors; ~background plain",
    ),
    **_scene(
        "sea",
        "the sea|the ocean|the beach|water|the coast|the seaside",
        "by the {sea|ocean|beach|seaside|water}; at the {sea|beach|seaside|ocean}; near the {sea|ocean|coast}; on the "
        "{beach|coast|shore}; ~close to the {sea|beach}; ~along the {seaside|coast}",
        "sea; ocean; beach; seaside; {sea|ocean|beach} background; coast; shore; ~sea in the back",
    ),
    **_scene(
        "forest",
        "a forest|the forest|trees|green trees|the woods|a wood",
        "in {the|a} forest; in the woods; by the {forest|woods}; near the {forest|woods|trees}; "
        "among {the|green} trees; "
        "~close to the {forest|trees}; ~inside the {forest|woods}",
        "forest; woods; trees; green trees; {forest|woods} background; woodland; ~forest in the back",
    ),
    **_scene(
        "mountains",
        "mountains|the mountains|a mountain|high mountains|mountain peaks|a mountain range",
        "in the mountains; by the mountains; near {the mountains|a mountain}; in the {hills|highlands|Alps}; "
        "~close to the mountains; ~up in the mountains",
        "mountains; mountain; {mountain|mountains} background; peaks; highlands; mountain range; "
        "~mountains in the back",
    ),
    **_scene(
        "city",
        "a city|the city|buildings|skyscrapers|the skyline|tall buildings|a street",
        "in {the|a} city; in {the|a} street; downtown; in town; near {buildings|the city}; on the street; in an urban "
        "setting; ~close to the {city|buildings}; ~within the city",
        "city; town; buildings; {city|urban} background; street; skyline; skyscrapers; urban; ~city in the back",
    ),
    **_scene(
        "sunset",
        "a sunset|the sunset|the setting sun|an orange sky|a sunset sky|an evening sky",
        "at {sunset|dusk|sundown}; in the {sunset|evening sun}; during {sunset|the sunset}; under a sunset sky; "
        "~close to sunset; ~in the light of the sunset",
        "sunset; dusk; setting sun; evening sun; sunset {background|sky}; sundown; ~sunset in the back",
    ),
    "background!=plain": {"place": "outdoors; outside; in the open air", "key": "outdoors; outside"},
    "background=sea,forest,mountains": {"place": "in nature; outdoors in nature", "key": "nature; natural scenery"},
}

WORDS = {**PEOPLE, **SKIN, **HAIR, **EYEWEAR, **FACIAL_HAIR, **ACCESSORIES, **EXPRESSION, **BACKGROUND}

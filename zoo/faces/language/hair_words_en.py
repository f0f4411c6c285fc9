"""English words for hair and beards; see `words_en` for the slots and `lexicon` for the notation."""

from __future__ import annotations


def _hair(color: str, tones: str, adjectives: str, keys: str) -> dict[str, dict[str, str]]:
    """Write the entries of a hair colour, from its tones `a|b|c` and further adjectives and keywords."""
    return {
        f"hair_color={color}": {
            "tone": "; ".join(tones.split("|")),
            "adj": f"{{{tones}}}-haired; {adjectives}; ~{{{tones}}} haired",
            "with": f"{{{tones}}} hair; {{{tones}}} colored hair; hair of {{{tones}}} {{color|colour}}; "
            f"{{{tones}}} locks",
            "poss": f"hair is {{{tones}}}; hair {{color|colour}} is {{{tones}}}; ~hair looks {{{tones}}}",
            "key": f"{{{tones}}} hair; {{{tones}}}-haired; {keys}; ~hair {{color|colour}} {{{tones}}}; "
            f"~hair: {{{tones}}}",
        }
    }


HAIR = {
    **_hair("blonde", "blonde|blond|golden|fair|yellow", "blonde; blond; flaxen-haired", "blonde; blond"),
    **_hair("brown", "brown|brunette|chestnut|dark brown|light brown", "brunette", "brunette"),
    **_hair("black", "black|jet-black|raven|jet black", "raven-haired", "raven hair"),
    **_hair("red", "red|ginger|orange|copper|bright red", "ginger; redheaded", "ginger; redhead"),
    **_hair("gray", "gray|grey|greying|graying", "gray-headed; grey-headed", "grey hair"),
    **_hair("white", "white|snow-white|snow white", "white-headed", "snowy hair"),
    **_hair("blue", "blue|bright blue|blue-dyed|dyed blue", "blue-headed", "blue dyed hair"),
    "hair_color=gray,white": {"tone": "silver", "adj": "silver-haired", "with": "silver hair", "key": "silver hair"},
    "hair_color=brown,black": {"adj": "dark-haired", "with": "dark hair", "poss": "hair is dark", "key": "dark hair"},
    "hair_color!=black": {
        "post": "who does not have black hair",
        "with": "hair that is not black",
        "key": "no black hair",
    },
    "hair_color!=blonde": {"post": "who is not blonde", "with": "hair that is not blonde", "key": "not blonde"},
    "hair_style=bald": {
        "adj": "bald; bald-headed; hairless; shaven-headed; completely bald; baldheaded; ~bald headed",
        "with": "a bald head; no hair; a {shaved|shaven|hairless} head; ~a completely bald head; ~no hair on the head",
        "poss": "head is {bald|shaved|hairless}; ~head has no hair",
        "post": "without {hair|any hair}; ~with no hair at all",
        "key": "bald; bald head; no hair; hairless; baldness; shaved head; ~without hair",
    },
    "hair_style=short": {
        "cut": "short; close-cropped; cropped; short-cut; ~rather short; ~very short",
        "adj": "short-haired; crop-haired; short haired",
        "with": "short hair; {a short|a cropped} haircut; {cropped|short-cut} hair; ~hair cut short; ~very short hair",
        "poss": "hair is {short|cut short|cropped}; ~hair is very short",
        "key": "short hair; short-haired; short haircut; cropped hair; ~hair: short; ~very short hair",
    },
    "hair_style=long": {
        "cut": "long; long flowing; flowing; shoulder-length; ~very long; ~long straight",
        "adj": "long-haired; long haired",
        "with": "long hair; {long flowing|flowing|shoulder-length} hair; a long hairstyle; ~very long hair; "
        "~hair worn long",
        "poss": "hair is {long|long and flowing|shoulder-length}; ~hair is very long",
        "key": "long hair; long-haired; long flowing hair; long hairstyle; ~hair: long; ~very long hair",
    },
    "hair_style=curly": {
        "cut": "curly; frizzy; curled; wavy; ~very curly; ~wildly curly",
        "adj": "curly-haired; curly-headed; frizzy-haired; curly haired; ~curly headed",
        "with": "curly hair; curls; {frizzy|curled|wavy} hair; a curly hairstyle; ~a head of curls; ~very curly hair",
        "poss": "hair is {curly|frizzy|curled|full of curls|wavy}; ~hair is very curly",
        "key": "curly hair; curls; curly-haired; frizzy hair; curly hairstyle; wavy hair; ~hair: curly; "
        "~very curly hair",
    },
    "hair_style!=bald": {"adj": "not bald", "post": "who is not bald", "with": "hair on THEIR head", "key": "not bald"},
}


def _beard(color: str, tones: str) -> dict[str, dict[str, str]]:
    """Write the entries of beards and moustaches of a colour, which is that of the hair."""
    entries = {}
    for value, thing in {"beard": "beard", "moustache": "{moustache|mustache}"}.items():
        entries[f"facial_hair={value} hair_color={color} hair_style!=bald"] = {
            "with": f"a {{{tones}}} {thing}; a {{full|thick|bushy|big}} {{{tones}}} {thing}; "
            f"~a {thing} of {{{tones}}} {{color|colour}}",
            "wear": f"a {{{tones}}} {thing}",
            "poss": f"{thing} is {{{tones}}}",
            "key": f"{{{tones}}} {thing}; ~{thing}: {{{tones}}}",
        }
    return entries


FACIAL_HAIR = {
    "facial_hair=none": {
        "adj": "clean-shaven; beardless; clean shaven; smooth-shaven; ~cleanly shaved",
        "with": "no facial hair; a {clean-shaven|shaved} {face|chin}; a smooth chin; no beard or moustache; "
        "neither beard nor {moustache|mustache}; "
        "~a cleanly shaved face",
        "poss": "face is {clean-shaven|shaved}; chin is smooth; ~chin is clean-shaven",
        "post": "without {facial hair|a beard or mustache|any facial hair}; ~without beard and moustache",
        "key": "clean-shaven; no facial hair; clean shaven; beardless; ~cleanly shaved; ~no beard or mustache",
    },
    "facial_hair=none,moustache": {"post": "without a beard", "with": "no beard", "key": "no beard; without beard"},
    "facial_hair=moustache": {
        "adj": "moustached; mustached; mustachioed; moustachioed; ~moustache-wearing",
        "with": "a moustache; a mustache; a {thick|big|bushy|small} {moustache|mustache}; "
        "a {moustache|mustache} but no beard; "
        "~a {moustache|mustache} on the upper lip",
        "wear": "a {moustache|mustache}; ~a thick moustache",
        "key": "moustache; mustache; moustached; {thick|big} mustache; ~only a moustache; ~with moustache",
    },
    "facial_hair=beard": {
        "adj": "bearded; full-bearded; ~beard-wearing; ~heavily bearded",
        "with": "a beard; a {full|bushy|thick|big|long} beard; a beard on {THEIR|the} chin; ~a beard round the chin",
        "wear": "a beard; a {full|thick} beard; ~a bushy beard",
        "key": "beard; bearded; {full|bushy|thick|big} beard; ~full-bearded; ~with beard",
    },
    "facial_hair=moustache,beard": {
        "adj": "unshaven; not clean-shaven",
        "with": "facial hair; {some|a lot of} facial hair; whiskers; ~hair on the face",
        "key": "facial hair; whiskers; unshaven",
    },
    **_beard("blonde", "blonde|blond|golden"),
    **_beard("brown", "brown|chestnut|dark brown"),
    **_beard("black", "black|jet-black"),
    **_beard("red", "red|ginger|orange"),
    **_beard("gray", "gray|grey|graying"),
    **_beard("white", "white|snow-white"),
    **_beard("blue", "blue|bright blue"),
}

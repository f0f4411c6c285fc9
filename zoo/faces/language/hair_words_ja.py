"""Japanese words for hair and beards; see `words_ja` for the slots and `lexicon` for the notation."""

from __future__ import annotations


def _hair(color: str, words: str, colors: str, adjective: str) -> dict[str, dict[str, str]]:
    """Write the entries of a hair colour: nouns such as 金髪, colours such as 金色, and what ends "髪が..."."""
    return {
        f"hair_color={color}": {
            "tone": f"{{{words}}}; {{{colors}}}の髪",
            "pre": words.split("|")[0],
            "mod": f"{{{words}}}の; {{{colors}}}の髪の; 髪が{{{colors}}}の; {{{colors}}}の{{髪|髪の毛}}をした; "
            f"~{{{colors}}}の髪を{{持つ|持った}}; ~髪の色が{{{colors}}}の; ~{{{colors}}}の{{頭髪|髪の毛}}の",
            "poss": f"髪が{{{adjective}}}; 髪の色は{{{colors}}}である; {{{words}}}である; ~髪の毛が{{{adjective}}}",
            "key": f"{{{words}}}; {{{colors}}}の髪; {words.split('|')[0]}; ~{{{colors}}}の{{髪の毛|頭髪}}; "
            f"~髪: {{{colors}}}",
        }
    }


HAIR = {
    **_hair("blonde", "金髪|ブロンド|ブロンドの髪|ブロンドヘア", "金色|黄色|ブロンド", "金色である"),
    **_hair("brown", "茶髪|ブラウンヘア|茶色い髪|栗毛", "茶色|栗色|ブラウン|こげ茶色", "茶色い"),
    **_hair("black", "黒髪|黒い髪|ブラックヘア", "黒色|真っ黒|黒", "黒い|真っ黒である"),
    **_hair("red", "赤毛|赤い髪|赤髪", "赤色|オレンジ色|赤", "赤い"),
    **_hair("gray", "グレーヘア|灰色の髪|グレーの髪", "灰色|グレー|ねずみ色", "灰色である|グレーである"),
    **_hair("white", "白髪|白い髪|しらが", "白色|真っ白|白", "白い|真っ白である"),
    **_hair("blue", "青髪|青い髪|ブルーヘア", "青色|ブルー|青", "青い"),
    "hair_color=gray,white": {"mod": "銀髪の; 銀色の髪の", "key": "銀髪", "tone": "銀髪"},
    "hair_color=brown,black": {"mod": "暗い髪の; 髪の色が暗い", "key": "暗い髪", "poss": "髪の色が暗い"},
    "hair_color!=blonde": {"mod": "金髪ではない", "pred": "金髪ではない", "key": "金髪ではない"},
    "hair_color!=black": {"mod": "黒髪ではない", "pred": "黒髪ではない", "key": "黒髪ではない"},
    "hair_style=bald": {
        "mod": "はげた; ハゲの; 禿げた; 禿げ頭の; スキンヘッドの; 髪のない; 坊主頭の; 髪の毛がない; ~頭の禿げた; "
        "~頭に髪がない",
        "pred": "禿げている; はげている; ~頭が禿げている",
        "poss": "頭が禿げている; 髪がない; 髪の毛がない; ~頭に髪がない",
        "key": "禿げ; ハゲ; はげ; スキンヘッド; 髪なし; 禿げ頭; 坊主頭; ~はげた頭",
    },
    "hair_style=short": {
        "cut": "短い; ショートの; ~かなり短い",
        "mod": "短髪の; 短い髪の; 髪の短い; ショートヘアの; ショートカットの; 髪が短い; ~短い髪をした; ~髪の毛が短い",
        "pre": "短髪",
        "poss": "髪が短い; 短髪である; ショートヘアである; ~髪の毛が短い",
        "key": "短髪; ショートヘア; 短い髪; ショートカット; ~短い髪の毛",
    },
    "hair_style=long": {
        "cut": "長い; ロングの; ~とても長い",
        "mod": "長髪の; 長い髪の; 髪の長い; ロングヘアの; ロングヘアーの; 髪が長い; ~長い髪をした; ~髪の毛が長い",
        "pre": "長髪",
        "poss": "髪が長い; 長髪である; ロングヘアである; ~髪の毛が長い",
        "key": "長髪; ロングヘア; 長い髪; ロングヘアー; ~長い髪の毛",
    },
    "hair_style=curly": {
        "cut": "カールした; 巻いた; 縮れた; くるくるした",
        "mod": "巻き毛の; カールした髪の; 縮れ毛の; 縮れた髪の; くせ毛の; 髪がカールした; ~カールした髪をした; "
        "~くるくるした髪の",
        "poss": "髪がカールしている; 巻き毛である; 髪が縮れている; ~髪の毛がカールしている",
        "key": "巻き毛; カールした髪; 縮れ毛; くせ毛; 縮れた髪; カールヘア; ~カールした髪の毛",
    },
    "hair_style!=bald": {"mod": "禿げていない; 髪のある", "pred": "禿げていない", "key": "禿げていない"},
}


CHIN = "顎髭|あごひげ|顎ひげ|あご髭"
LIP = "口髭|口ひげ|くちひげ"
ANY_BEARD = "髭|ひげ|ヒゲ"
GROW = "を生やした|を蓄えた|のある|を生やしている|をたくわえた"


def _beard(color: str, tones: str, adjective: str) -> dict[str, dict[str, str]]:
    """Write the entries of beards and moustaches of a colour, which is that of the hair: 白い顎髭, 顎髭が白い."""
    entries = {}
    for values, things in {"beard": CHIN, "moustache": LIP, "moustache,beard": ANY_BEARD}.items():
        thing = f"{{{tones}}}{{{things}}}"
        entries[f"facial_hair={values} hair_color={color} hair_style!=bald"] = {
            "mod": f"{thing}の; {thing}{{{GROW}}}; {{{things}}}が{adjective}; ~{thing}を持つ",
            "pred": f"{thing}を{{生やしている|蓄えている}}",
            "thing": thing,
            "key": f"{thing}; ~{{{things}}}: {{{tones}}}",
        }
    return entries


FACIAL_HAIR = {
    "facial_hair=none": {
        "mod": "{髭|ひげ|ヒゲ}のない; {髭|ひげ}を{剃った|生やしていない}; {髭|ひげ}なしの; "
        "~{髭|ひげ}をきれいに剃った; ~{髭|ひげ}が全くない",
        "pred": "{髭|ひげ}を生やしていない; {髭|ひげ}を剃っている; ~{髭|ひげ}が全くない",
        "poss": "{髭|ひげ|ヒゲ}がない; ~{髭|ひげ}が全くない",
        "key": "{髭|ひげ|ヒゲ}なし; {髭|ひげ}がない; {髭|ひげ}無し",
    },
    "facial_hair=none,moustache": {
        "mod": f"{{{CHIN}}}のない",
        "pred": f"{{{CHIN}}}を生やしていない",
        "key": f"{{{CHIN}}}なし",
    },
    "facial_hair=moustache": {
        "mod": f"{{{LIP}}}{{{GROW}}}; {{{LIP}}}の; {{{LIP}}}だけ生やした; ~{{濃い|立派な}}{{{LIP}}}の; "
        f"~{{{LIP}}}を持つ",
        "pred": f"{{{LIP}}}を{{生やしている|蓄えている}}; ~{{{LIP}}}をたくわえている",
        "poss": f"{{{LIP}}}がある; {{{LIP}}}が生えている",
        "thing": f"{{{LIP}}}",
        "key": f"{{{LIP}}}; {{{LIP}}}あり; ~{{濃い|立派な}}{{{LIP}}}",
    },
    "facial_hair=beard": {
        "mod": f"{{{CHIN}}}{{{GROW}}}; {{{CHIN}}}の; {{長い|豊かな}}{{{CHIN}}}の; ~{{濃い|立派な}}{{{CHIN}}}の; "
        f"~{{{CHIN}}}を持つ",
        "pred": f"{{{CHIN}}}を{{生やしている|蓄えている}}; ~{{{CHIN}}}をたくわえている",
        "poss": f"{{{CHIN}}}がある; {{{CHIN}}}が生えている",
        "thing": f"{{{CHIN}}}",
        "key": f"{{{CHIN}}}; {{{CHIN}}}あり; ~{{濃い|立派な}}{{{CHIN}}}",
    },
    "facial_hair=moustache,beard": {
        "mod": f"{{髭|ひげ|ヒゲ}}{{{GROW}}}; {{髭|ひげ}}の; {{髭|ひげ}}の生えた; ~{{髭|ひげ}}が濃い",
        "pred": "{髭|ひげ|ヒゲ}を{生やしている|蓄えている}",
        "key": "髭; ひげ; ヒゲ; {髭|ひげ}あり; {髭|ひげ}面; ~{髭|ひげ}が濃い",
    },
    **_beard("blonde", "金色の|ブロンドの", "金色の"),
    **_beard("brown", "茶色い|茶色の", "茶色い"),
    **_beard("black", "黒い|真っ黒な", "黒い"),
    **_beard("red", "赤い|オレンジ色の", "赤い"),
    **_beard("gray", "灰色の|グレーの", "灰色の"),
    **_beard("white", "白い|真っ白な|白", "白い"),
    **_beard("blue", "青い|青色の", "青い"),
}

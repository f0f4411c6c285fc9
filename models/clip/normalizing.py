"""One spelling for what is written in several, before a text reaches a CLIP's tokenizer.

A CLIP asks for it in its config (`open_clip_config.json`, or `--clip-args text_normalization=japanese`); it changes
embeddings, so it is a part of the CLIP's identity. Others get their texts as they are.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from text2latent.common.errors import InputError

OLD_FORMS = (
    "亞亜惡悪壓圧圍囲醫医爲為壹壱隱隠榮栄營営衞衛驛駅圓円緣縁艷艶鹽塩奧奥應応橫横歐欧毆殴黃黄溫温穩穏假仮價価畫画會会壞壊懷懐繪絵擴拡殼殻覺覚學学嶽岳樂楽渴渇勸勧卷巻寬寛歡歓罐缶觀観關関陷陥顏顔歸帰氣気龜亀僞偽戲戯犧犠舊旧據拠"
    "擧挙虛虚峽峡挾挟敎教狹狭鄕郷堯尭曉暁區区驅駆勳勲薰薫徑径惠恵揭掲攜携溪渓經経繼継莖茎螢蛍輕軽鷄鶏藝芸擊撃缺欠儉倹劍剣圈圏檢検權権獻献硏研縣県險険顯顕驗験嚴厳效効廣広恆恒鑛鉱號号黑黒碎砕濟済齋斎劑剤櫻桜册冊雜雑產産參参慘惨"
    "棧桟蠶蚕讚讃贊賛殘残絲糸齒歯兒児辭辞濕湿實実舍舎寫写釋釈壽寿收収從従澁渋獸獣縱縦肅粛處処緖緒敍叙奬奨將将燒焼稱称證証乘乗剩剰壤壌孃嬢條条淨浄狀状疊畳讓譲釀醸囑嘱觸触寢寝愼慎眞真盡尽圖図粹粋醉酔隨随髓髄樞枢數数瀨瀬聲声靜静"
    "齊斉攝摂竊窃專専戰戦淺浅潛潜纖繊踐践錢銭禪禅雙双壯壮搜捜插挿巢巣爭争窗窓總総聰聡莊荘裝装騷騒增増臟臓藏蔵卽即屬属續続墮堕體体對対帶帯滯滞瀧滝臺台擇択澤沢單単擔担膽胆團団彈弾斷断癡痴遲遅晝昼蟲虫鑄鋳廳庁徵徴聽聴敕勅鎭鎮遞逓"
    "鐵鉄轉転點点傳伝黨党盜盗燈灯當当鬪闘德徳獨独讀読屆届繩縄貳弐腦脳霸覇廢廃拜拝賣売麥麦發発髮髪拔抜晚晩蠻蛮祕秘彥彦姬姫濱浜甁瓶拂払佛仏倂併竝並變変邊辺邉辺辨弁瓣弁辯弁舖舗步歩穗穂寶宝萠萌襃褒豐豊沒没飜翻每毎萬万滿満麵麺默黙"
    "彌弥藥薬譯訳與与豫予餘余譽誉搖揺樣様謠謡來来賴頼亂乱覽覧龍竜兩両獵猟綠緑壘塁淚涙禮礼隸隷靈霊齡齢曆暦歷歴戀恋鍊錬爐炉勞労樓楼郞郎祿禄錄録灣湾內内吳呉靑青淸清說説脫脱稅税銳鋭閱閲鄰隣頰頬鬚髭髯髭繫繋摑掴嚙噛剝剥塡填蔣蒋醬醤"
    "國国戶戸嶋島峯峰冨富囘回恊協頸頚禱祷檮梼攪撹啞唖瘦痩簞箪蠟蝋屛屏幷并﨑崎髙高槇槙檜桧濤涛鷗鴎麴麹蘆芦"
)
"""Old forms and variants of kanji, each before what is written today: most of what Japan's lists simplified."""
TO_TODAYS = {ord(old): today for old, today in zip(OLD_FORMS[::2], OLD_FORMS[1::2], strict=True)}


def normalize_japanese(text: str) -> str:
    """A text with compatible characters made one (Unicode's NFKC: ２５, ﾒｶﾞﾈ), and old forms of kanji as today's."""
    return unicodedata.normalize("NFKC", text).translate(TO_TODAYS)


NORMALIZATION_KEY = "text_normalization"
"""Key of a CLIP's config beside `model_cfg`, and of what is said of it."""
NORMALIZATIONS: Mapping[str, Callable[[str], str]] = {"japanese": normalize_japanese}
"""What a CLIP can ask for, by name."""
NORMALIZATION_NAMES = " or ".join(NORMALIZATIONS)


def normalizing(tokenizer: Any, normalization: str | None) -> Any:
    """A tokenizer that normalises its texts as `normalization` says; as it is where that says nothing."""
    return tokenizer if normalization is None else NormalizingTokenizer(tokenizer, normalization)


def plain(tokenizer: Any) -> Any:
    """The tokenizer itself, where its texts are normalised first."""
    return tokenizer.plain if isinstance(tokenizer, NormalizingTokenizer) else tokenizer


def parse_normalization(config: Mapping[str, Any], path: Path) -> str | None:
    """What a CLIP's config asks for; None where it says nothing.

    Raises:
        InputError: for anything that isn't a key of `NORMALIZATIONS`.
    """
    found = config.get(NORMALIZATION_KEY)
    if found is not None and found not in NORMALIZATIONS:
        raise InputError(f"{path}: {NORMALIZATION_KEY}: expected {NORMALIZATION_NAMES}, got {found!r:.80}")
    return found


class NormalizingTokenizer:
    """A tokenizer whose texts are normalised first; in all else the tokenizer itself.

    Args:
        tokenizer: texts -> tokens.
        normalization: a key of `NORMALIZATIONS`.
    """

    def __init__(self, tokenizer: Any, normalization: str) -> None:
        self.plain = tokenizer
        self.normalization = normalization
        self.normalize = NORMALIZATIONS[normalization]

    def __call__(self, texts: Sequence[str], context_length: int | None = None) -> Tensor:
        """Tokens of texts, int64 `[N, L]`."""
        normalized = [self.normalize(text) for text in texts]
        return self.plain(normalized) if context_length is None else self.plain(normalized, context_length)

    def __getattr__(self, name: str) -> Any:
        if name == "plain":  # in a copy that is being made
            raise AttributeError(name)
        return getattr(self.plain, name)

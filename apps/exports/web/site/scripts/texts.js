// What the page says, in English and Japanese.

/** @typedef {'en' | 'ja'} Language */

/** @satisfies {Record<string, [string, string]>} */
export const TEXTS = {
  tagline: ['Pictures from words', '言葉から絵を描く'],
  language: ['Language', '言語'],
  pictures: ['Pictures', '絵'],
  picture: ['Picture {index}, seed {seed}: {label}', '{index} 枚目、シード {seed}：{label}'],
  loading: ['Loading…', '読み込み中…'],
  loading_bytes: ['Loading {loaded} of {total} MB', '読み込み中 {loaded} / {total} MB'],
  preparing: ['Getting ready…', '準備中…'],
  broken: ['This browser could not draw: {message}', 'このブラウザーでは描けませんでした：{message}'],
  text: ['Describe a picture', '描きたいものを書く'],
  text_hint: ['It is drawn as you type', '書くそばから描かれます'],
  examples: ['Examples', '例'],
  count: ['Pictures', '枚数'],
  seed: ['Seed', 'シード'],
  another: ['Another', '別の絵'],
  another_hint: ['Draw with a new seed (Enter)', '新しいシードで描く（Enter）'],
  save: ['Save PNG', 'PNG を保存'],
  only: ['Only this one', 'この絵だけ'],
  mix: ['Mix with another text', '別の文章と混ぜる'],
  mix_text: ['Other text', 'もう一つの文章'],
  mix_hint: ['a happy old man', 'うれしそうなおじいさん'],
  fraction: ['From one to the other', '混ぜぐあい'],
  edit: ['Change something', '一部を変える'],
  from: ['From', '変える前'],
  from_hint: ['a woman', '女性'],
  to: ['To', '変えた後'],
  to_hint: ['a woman with glasses', '眼鏡をかけた女性'],
  strength: ['Strength', '強さ'],
  settings: ['Settings', '設定'],
  guidance: ['Guidance', 'ガイダンス'],
  guidance_info: [
    'Higher follows the text more closely, with less variety.',
    '大きいほど文章に忠実になり、変化は少なくなります。',
  ],
  facts: ['Seed {seed} · {milliseconds} ms', 'シード {seed} · {milliseconds} ミリ秒'],
  facts_webgpu: ['Seed {seed} · {milliseconds} ms on the GPU', 'シード {seed} · {milliseconds} ミリ秒（GPU）'],
  private: [
    'Drawn by your own browser: nothing that you write leaves this device.',
    'この端末のブラウザーが描きます。書いた文章はどこにも送られません。',
  ],
  offline: ['Works offline now.', 'オフラインでも使えます。'],
  problem_long: ['At most 2,000 characters, please.', '2,000 文字以内で書いてください。'],
  problem_control: ['This text has characters that cannot be read.', '読めない文字が含まれています。'],
  problem_empty: ['Write what the picture should show.', '描きたいものを書いてください。'],
  problem_part: ['Write a text in each part between | and |.', '| と | の間に文章を書いてください。'],
  problem_weight: ['Weights go from -100 to 100.', '重みは -100 から 100 までです。'],
  problem_sum: ['The weights should add up to more than 0.', '重みの合計は 0 より大きくしてください。'],
  problem_cancel: ['The parts cancel each other out.', '打ち消し合う文章になっています。'],
};

/** @typedef {keyof typeof TEXTS} TextName */

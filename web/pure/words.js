/** Words of the page before it has them in its language. */

/** Words as the page's `words` takes them: a key of the translations, the English, values in the place of {names}. */
export const say = (key, english, values = {}) => [key, english, values]

export function filled(sentence, values) {
  return sentence.replace(/\{(\w+)\}/g, (whole, name) => values[name] ?? whole)
}

/** An error that a person reads: `said` are its words. */
export class Refusal extends Error {
  constructor(...said) {
    super(filled(said[1], said[2]))
    this.said = said
  }
}

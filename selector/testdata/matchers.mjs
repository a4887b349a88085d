// Answers, for each question, which of its values fit: a 0 or 1 for each, or "error".
import * as complexMatcher from 'complex-matcher'
import { createPredicate } from 'value-matcher'

const parse = complexMatcher.parse ?? complexMatcher.default.parse
for (const { pattern, query, values } of questions) {
  try {
    const node = query === undefined ? undefined : parse(query)
    const predicate = node === undefined ? createPredicate(pattern) : node.createPredicate()
    console.log(values.map(value => Number(predicate(value))).join(''), node === undefined ? '' : JSON.stringify(String(node)))
  } catch (error) {
    console.log('error')
  }
}

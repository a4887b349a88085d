// Decrypts a file to another, and encrypts that again under a nonce of its own.
import { createCipheriv, createDecipheriv, randomBytes } from 'node:crypto'
import { readFileSync, writeFileSync } from 'node:fs'

const [algorithm, key, from, plain, to] = process.argv.slice(-5)
const options = { authTagLength: 16 }
const stored = readFileSync(from)

const decipher = createDecipheriv(algorithm, Buffer.from(key), stored.subarray(0, 12), options)
decipher.setAuthTag(stored.subarray(-16))
const content = Buffer.concat([decipher.update(stored.subarray(12, -16)), decipher.final()])
writeFileSync(plain, content)

const nonce = randomBytes(12)
const cipher = createCipheriv(algorithm, Buffer.from(key), nonce, options)
writeFileSync(to, Buffer.concat([nonce, cipher.update(content), cipher.final(), cipher.getAuthTag()]))

bifocal_probe(tokenizer LINKS bifocal_text)

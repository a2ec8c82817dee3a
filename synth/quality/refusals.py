"""How models refuse, told from how people regret."""

from __future__ import annotations

import re

WITHIN = 300  # characters: a refusal comes at the start

AN_AI = r"(?: ai | artificial \s intelligence | (?:large \s)? language \s model )"
CANNOT = r"""(?: \b i \s? (?: can(?:'t|not|\s not)
               | (?:won't|will \s not) (?: \s be \s able \s to )?
               | (?:am|'m) \s (?:not \s able|unable) \s to ) \s )"""
GERMAN = r"""(?: \b als \s (?: ki | künstliche \s intelligenz | (?:großes \s)? sprachmodell
      | ki-(?:sprachmodell|assistent(?:in)?|modell|system) ) \b .{0,20} \b ich \b
  | \b (?:dabei|damit) \s kann \s ich \s (?: (?:ihnen|dir) \s )? (?: leider \s )? nicht \s
        (?: weiter )? (?: helfen | dienen )
  | \b ich \s (?: bin \s (?:nur|lediglich) \s ein (?:e)? \s (?: ki \b | ki- | sprachmodell )
      | kann \s (?: (?:ihnen|dir) \s )? (?: dabei | hierbei | damit ) \s (?: leider \s )? nicht
        \s (?: weiter )? (?: helfen | dienen )
      | (?: kann | darf ) \s
        (?: diese[rn]? \s (?:anfrage|bitte|aufforderung) | diese[mn] \s wunsch )
        \s (?: leider \s )? nicht \s (?: erfüllen | beantworten | bearbeiten | nachkommen ) ) )"""
FRENCH = r"""(?: \b en \s tant \s qu(?: e \s | ' )(?: modèle \s de \s langage | ia \b
      | intelligence \s artificielle | assistant \s (?:ia|virtuel) )
  | \b je \s (?: ne \s (?: peux \s pas | suis \s pas \s en \s mesure \s de ) )
      \s (?: vous \s aider (?: \s (?: avec \s (?:cela|ça) | à \s ce \s sujet ) )?
          \s* (?: [,.!] | $ )
        | répondre \s à \s (?:cette|votre) \s (?:demande|question)
        | (?:satisfaire|accéder \s à) \s (?:cette|votre) \s demande ) )"""
SPANISH = r"""(?: \b como \s (?: (?:un \s)? modelo \s de \s lenguaje | (?:una \s)? ia \b
      | (?:una \s)? inteligencia \s artificial | asistente \s (?:de \s ia|virtual) )
  | \b no \s (?: puedo | me \s es \s posible ) \s (?: ayudar(?:te|le|lo|la)?
        (?: \s con \s (?:eso|esto|esa \s solicitud|esta \s solicitud) )? \s* (?: [,.!] | $ )
      | (?: cumplir \s con | responder \s a | atender ) \s (?:a \s)? (?:esa|esta|su|tu)
        \s (?:solicitud|petición|pregunta) ) )"""
# Only what no user and no web page says: a customer may well be sorry or unable to do something.
REFUSAL = rf"""(?:
    \b as \s an? \s {AN_AI} (?: \s (?:language \s)? (?:model|assistant|system) )? ,? \s+ (?:i|my)\b
  | \b i(?:'m|\s am) \s (?:just|only) \s an? \s {AN_AI} \b
  | \b i(?:'m|\s am) \s an? \s {AN_AI} (?: \s (?:language \s)? (?:model|assistant) )?
    \s* (?: [,.;] | $ | (?:and|so|but) \s i\b )
  | {CANNOT} (?:
        (?: assist (?:\s you)? \s with | comply | fulfill? | satisfy | (?:engage|participate) \s in
          | help (?:\s you)? \s with \s (?:that|this|your \s request|\w+ing)
          | answer \s (?:that|this|your)
          | share \s (?:that|this|any|such) \s (?: (?:kind|type|sort) \s of \s )?
            (?:information|content|details|data|instructions)
          | (?:create|generate|write|provide) \s (?:\w+ \s){{0,4}}
            (?: content | examples? | requests? | material | problems? | questions?
              | information | guidance | instructions | advice ) ) \b
      | (?: help \s you | assist (?:\s you)? | do \s that ) \s* (?: [,.!] | $ ) )
  | \b i \s (?: must | have \s to | need \s to ) \s (?: respectfully \s | politely \s )? decline
    \s* (?: [,.!] | $ | to \s (?: answer|assist|comply|engage|fulfil+|generate|help|participate
                                 |provide|respond|write) \b
            | (?:this|that|your|to \s do \s so) \b )
  | {GERMAN} | {FRENCH} | {SPANISH}
  | 作为 (?:一个|一名|一款)? (?:人工智能|ai|大?语言模型) .{{0,12}} 我 (?:无法|不能|没有)
  | 我 (?:无法|不能) (?:提供|协助|满足|回答|生成|帮助?您|帮助?你)
)"""
# What may come before it where a text begins with it.
REGRET = r"""\W* (?: (?: i(?:'m|\s am) \s (?:very \s|so \s)? )? sorry | i \s apologi[sz]e
               | apologies | unfortunately | 很?抱歉 | 对不起 )? [,.!，。]? \s* (?:but \s)? \s*"""
ANYWHERE = re.compile(REFUSAL, re.IGNORECASE | re.VERBOSE)
AT_ONCE = re.compile(REGRET + REFUSAL, re.IGNORECASE | re.VERBOSE)


def refuses(text: str, quotes: bool = False) -> bool:
    """Whether a text begins as a model refuses; ordinary regrets of a person do not count.

    Args:
        text: the text.
        quotes: it may quote a refusal, as a reason does: only its first words count.
    """
    text = text[:WITHIN].replace("\u2019", "'")
    return (AT_ONCE.match(text) if quotes else ANYWHERE.search(text)) is not None

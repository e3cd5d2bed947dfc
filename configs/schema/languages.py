"""Codes of languages: ISO 639, as in the names of Wikipedias.

A code of three letters is replaced by that of two, if the language has one: sentence splitters know the latter.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import AfterValidator, Field

# The codes of ISO 639-1, each with its codes of three letters (ISO 639-3 and the bibliographic ones of ISO 639-2).
_ISO_639_1 = """\
aa:aar ab:abk ae:ave af:afr ak:aka am:amh an:arg ar:ara,arb as:asm av:ava ay:aym az:aze ba:bak be:bel bg:bul bh:bih
bi:bis bm:bam bn:ben bo:bod,tib br:bre bs:bos ca:cat ce:che ch:cha co:cos cr:cre cs:ces,cze cu:chu cv:chv cy:cym,wel
da:dan de:deu,ger dv:div dz:dzo ee:ewe el:ell,gre en:eng eo:epo es:spa et:est,ekk eu:eus,baq fa:fas,per,pes ff:ful
fi:fin fj:fij fo:fao fr:fra,fre fy:fry ga:gle gd:gla gl:glg gn:grn gu:guj gv:glv ha:hau he:heb hi:hin ho:hmo hr:hrv
ht:hat hu:hun hy:hye,arm hz:her ia:ina id:ind ie:ile ig:ibo ii:iii ik:ipk io:ido is:isl,ice it:ita iu:iku ja:jpn
jv:jav ka:kat,geo kg:kon ki:kik kj:kua kk:kaz kl:kal km:khm kn:kan ko:kor kr:kau ks:kas ku:kur,kmr kv:kom kw:cor
ky:kir la:lat lb:ltz lg:lug li:lim ln:lin lo:lao lt:lit lu:lub lv:lav,lvs mg:mlg mh:mah mi:mri,mao mk:mkd,mac ml:mal
mn:mon,khk mr:mar ms:msa,may,zsm mt:mlt my:mya,bur na:nau nb:nob nd:nde ne:nep,npi ng:ndo nl:nld,dut nn:nno no:nor
nr:nbl nv:nav ny:nya oc:oci oj:oji om:orm or:ori,ory os:oss pa:pan pi:pli pl:pol ps:pus,pbt pt:por qu:que rm:roh
rn:run ro:ron,rum ru:rus rw:kin sa:san sc:srd sd:snd se:sme sg:sag sh:hbs si:sin sk:slk,slo sl:slv sm:smo sn:sna
so:som sq:sqi,alb sr:srp ss:ssw st:sot su:sun sv:swe sw:swa,swh ta:tam te:tel tg:tgk th:tha ti:tir tk:tuk tl:tgl
tn:tsn to:ton tr:tur ts:tso tt:tat tw:twi ty:tah ug:uig uk:ukr ur:urd uz:uzb,uzn ve:ven vi:vie vo:vol wa:wln wo:wol
xh:xho yi:yid,ydd yo:yor za:zha zh:zho,chi,cmn zu:zul"""
# Languages without a code of two letters that have a Wikipedia.
_OF_THREE_LETTERS = """\
ace ady als alt ami ang ann anp arc ary arz ast atj avk awa azb ban bar bbc bcl bdr bew bho bjn blk bpy btm bug bxr cbk
cdo ceb cho chr chy ckb crh csb dag dga din diq dsb dtp dty eml ext fat fon frp frr fur gag gan gcr glk gom gor got gpe
guc gur guw hak haw hif hsb hyw iba igl ilo inh jam jbo kaa kab kbd kbp kcg kge knc koi krc ksh kus lad lbe lez lfn lij
lld lmo lrc ltg mad mai mdf mhr min mni mnw mos mrj mus mwl myv mzn nah nap nds new nia nov nqo nrm nso nup olo pag pam
pap pcd pcm pdc pfl pih pms pnb pnt pwn rki rmy rsk rue rup sah sat scn sco shi shn skr smn srn stq syl szl szy tay tcy
tdd tet tig tly tpi trv tum tyv udm vec vep vls war wuu xal xmf yue zea zgh gsw"""

_CODES = dict(pair.split(":") for pair in _ISO_639_1.split())
_SHORTER = {long: short for short, longs in _CODES.items() for long in longs.split(",")}
LANGUAGES = frozenset(_CODES) | frozenset(_OF_THREE_LETTERS.split())


def known_language(code: str) -> str:
    """Return the code under which a language is known. Raises `ValueError` if no language has it."""
    code = _SHORTER.get(code, code)
    if code not in LANGUAGES:
        raise ValueError('no language with a Wikipedia has this code; give one of ISO 639, such as "de"')
    return code


Language = Annotated[str, Field(pattern=r"^[a-z]{2,3}$"), AfterValidator(known_language)]

"""Words that name no topic, in English: what every text has, what every page has, and what says little alone.

Other languages have none here: a topic of German pages is called by German words, also by such as these.
"""

from __future__ import annotations


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


FUNCTION_WORDS = _words(
    """
    a about above according across actually after again against ago all almost alone along already also although
    always am among an and another any anybody anyone anything anyway apart are around as aside at away back be
    became because become becomes been before behind being below beside besides between beyond both but by came can
    cannot cant come comes concerning consequently could couldnt de despite did didn didnt do does doesn doesnt
    doing don done dont down due during each either else elsewhere enough especially etc even ever every everybody
    everyone everything everywhere except few for forth from further furthermore gave get gets getting give given
    gives giving go goes going gone got had hadn half has hasn have haven having he hence her here hers herself him
    himself his how however i ie if ii iii im in including indeed instead into is isn isnt it its itself ive just
    keep kept la le least less let lets like likely ll made mainly make makes making many may maybe me meanwhile
    might mine more moreover most mostly much must my myself namely near nearly need needed needs neither never
    nevertheless no nobody non none nor not nothing now nowhere of off often oh ok okay on once one ones only onto
    or other others otherwise ought our ours ourselves out over own per perhaps please possible possibly pp
    previously probably put quite rather re really regarding regardless respectively said same saw say saying says
    see seem seemed seems seen several shall she should shouldn shouldnt since so some somebody somehow someone
    something sometimes somewhat somewhere soon still such take taken takes taking tell than that thats the their
    theirs them themselves then there thereby therefore these they theyre thing things think thinking this those
    though thought through throughout thus till to together told too took toward towards tried tries truly try
    trying under unless unlike until unto up upon us use used uses using usually various ve very via vs want wanted
    wants was wasn wasnt way ways we well went were weren what whatever when whenever where whereas whereby wherein
    whether which while who whoever whole whom whose why will with within without won wont would wouldn wouldnt yes
    yet you your youre yours yourself yourselves
    """
)
"""Stand in no term, neither alone nor in a pair."""

MARKUP = _words(
    """
    amp args aspx body charset colspan css def div doc docs docstring documentation fmt ftp gif gmt gt hr href htm
    html http https img impl import imports init jpeg jpg js kwargs li localhost lt mailto mime nbsp ndash nntp org
    param params pdf php png px quot rowspan rst rtype self src stylesheet svg tbody td th thead thumb tr txt ul url
    urls utf www xml xmlns
    """
)
"""Of markup, addresses and programs; in no term either."""

PAGE_WORDS = _words(
    """
    advertisement archive archives article articles author bookmark click comment comments contact content contents
    cookie cookies copyright download edit email facebook faq fax footer forum guest header home homepage index info
    instagram login logout mail menu message messages navigation newsletter next page pages password permalink phone
    post posted posting posts previous privacy read reader readers refer reference references register related reply
    reserved rights search section sections send share sidebar sign site sitemap skip source sources subject submit
    subscribe summary tag tags terms title toc toggle topic topics twitter upload user username visit website
    welcome write writes writing wrote
    """
)
"""What pages and mails say of themselves."""

GIVEN_NAMES = _words(
    """
    alan alex alexander alfred alice andrea andrew anna anne anthony arthur ben benjamin bill bob brian bruce carl
    charles chris christian christopher daniel dave david dennis don donald doug douglas edward elizabeth emily eric
    eugene francis frank fred frederick gary george gerald gordon greg gregory harold harry helen henry howard jack
    jacob james jane jason jean jeff jennifer jim joe john jonathan joseph joshua julia karen karl keith ken kenneth
    kevin larry laura lee leonard lewis linda lisa louis margaret maria mark martin mary matt matthew michael
    michelle mike nancy nicholas patrick paul peter philip phillip ralph ray raymond richard rob robert roger ronald
    roy ryan sam samuel sarah scott sean simon stephen steve steven susan ted terry thomas tim timothy todd tom tony
    victor walter wayne william
    """
)
"""A first name says nothing without the rest."""

PLAIN_WORDS = _words(
    """
    able add added additional ain allow allows appeared april arg argument arguments ask asked attended august
    available bad based basic became began begin believe best better big bit born bring built called case cases
    cause certain change changes class clear close code common competed composed consider consisted contains core
    course created current currently data date day days december default defaults define defined description died
    different directed early eight elected end established example examples fact false far february feel file find
    fine first five following form found founded four free friday full function future general good graduated great
    group guess hand hard held help high hope host idea implementation important include included includes instance
    interested internal january joined july june kind know known large last late later lead leave left level lib
    lies life line lines list little live lived local located long longer look looking looks lot lots low main major
    man march matter mean means member members method methods middle mind module monday month months moreover move
    moved name named names new nine north notable note noted november number object objects october old open opened
    option options order org organization parameter parameters part parts people person place places plan play
    played player playing plays point points present problem produced provide provided provides public published
    question questions quite reason received recent recently recorded released remember remove result results
    retired return returned returns right role run running saturday second september served set seven short show
    shows side signed similar simple simply single six small south special specific specified start started state
    statement step str studied style sunday support sure talk ten test text thank thanks third three thursday time
    times today tomorrow top total true tuesday turn two type types understand usage usual value values version
    wednesday week weeks west wide wish won word words work worked working works world worth written wrong year
    years yesterday young zero
    """
)
"""Verbs of any biography, months, numbers, and words of every subject."""

WEAK_WORDS = (*PAGE_WORDS, *GIVEN_NAMES, *PLAIN_WORDS)
"""Stand in a term only beside another word: new york, george washington."""

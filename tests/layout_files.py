"""Folders in the layouts of known data sets, with invented rows."""

import gzip
from collections.abc import Mapping
from pathlib import Path

from llmrs_bench.core.registry import SOURCES
from llmrs_bench.data.files import SourceFiles
from llmrs_bench.data.sources import Raw

Files = Mapping[str, str | bytes]


def write_files(folder: Path, files: Files) -> Path:
    """Write files, text as UTF-8; those called `.gz` are packed. Return the folder."""
    for name, content in files.items():
        data = content.encode() if isinstance(content, str) else content
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
    return folder


def load(layout: str, folder: Path, files: Files) -> Raw:
    """Write files, and read them as a layout."""
    source, opened = SOURCES.load(layout)(), SourceFiles.open(write_files(folder, files))
    assert source.accepts(opened)
    assert set(source.uses(opened)) <= set(opened.names)
    raw: Raw = source.load(opened)
    return raw


AMAZON_2023: Files = {
    "Kites.csv.gz": "user_id,parent_asin,rating,timestamp\n"
    "AHUSERONE,B000000001,5.0,1546297654677\n"
    "AHUSERTWO,0000000042,1.0,1546297654678\n"
    "AHUSERTWO,B000000001,3.0,1546297654500\n",
    "meta_Kites.jsonl.gz": '{"parent_asin": "B000000009", "title": "Nobody\'s kite", "store": "X"}\n'
    '{"parent_asin": "B000000001", "title": "R&amp;B Kite", "store": "Fl\u00fcgel", "price": 27.99, '
    '"categories": ["Toys", "Kites"]}\n'
    '{"parent_asin": "B000000001", "title": "The same again", "store": null, "price": null, "categories": []}\n'
    '{"parent_asin": "0000000042", "title": "nan", "store": null, "price": "\u2014", "categories": []}\n',
}
AMAZON_2018: Files = {
    "Kites.csv": "B000000001,A1USERNUMBER1,5.0,1546297654\n0000000042,A1USERNUMBER2,1.0,1546297653\n",
    "meta_Kites.json.gz": '{"asin": "B000000001", "title": "A kite", "brand": "Acme", "price": "$12.99", '
    '"category": ["Toys", "Kites &amp; More"]}\n'
    '{"asin": "0000000042", "title": "var start = (new Date()).getTime();", "price": ".a-box-inner{color:#fff}"}\n',
}
AMAZON_2014: Files = {
    "ratings_Kites.csv": "A1USERNUMBER1,B000000001,5.0,1366675200\nA1USERNUMBER2,0000000042,1.0,1366675200\n",
    "meta_Kites.json.gz": "{'asin': 'B000000001', 'title': \"The Pilot's kite\", 'brand': 'Acme', 'price': 12.99, "
    "'categories': [['Toys', 'Kites'], ['Toys', 'Outdoors']]}\n{'asin': '0000000042', 'imUrl': 'x'}\n",
}
MOVIELENS_10M: Files = {
    "ml-10M100K/ratings.dat": "1::122::4.5::838985046\n1::9::0.5::838983525\n2::9::3::868245777\n",
    "ml-10M100K/movies.dat": "122::Mis\u00e9rables, Les (1995)::Drama|IMAX\n"
    "9::Pull My Daisy (1958)::(no genres listed)\n",
    "ml-10M100K/tags.dat": "15::4973::excellent!::1215184630\n",
}
MOVIELENS_CSV: Files = {
    "ratings.csv": "userId,movieId,rating,timestamp\n1,307,3.5,1256677221\n2,9,4.0,1256677222\n",
    "movies.csv": 'movieId,title,genres\n307,"Trois couleurs: Bleu, The ""Blue"" One (1993)",Drama|Music\n'
    "9,Caf\u00e9 (2009\u2013 ),(no genres listed)\n",
    "tags.csv": "userId,movieId,tag,timestamp\n",
}
LASTFM_HETREC: Files = {
    "user_artists.dat": "userID\tartistID\tweight\r\n2\t51\t13883\r\n2\t52\t1\r\n3\t51\t352698\r\n3\t53\t7\r\n",
    "artists.dat": "id\tname\turl\tpictureURL\r\n51\t311\thttp://x\thttp://y\r\n52\tSigur R\u00f3s\thttp://x\t\r\n"
    "54\tNobody's\thttp://x\t\r\n53\t\"Quoted\thttp://x\t\r\n",
    "tags.dat": "tagID\ttagValue\r\n1\tm\u00e9tal\r\n2\trock\r\n3\tseen live\r\n".encode("latin-1"),
    "user_taggedartists.dat": "userID\tartistID\ttagID\tday\tmonth\tyear\r\n2\t51\t1\t1\t4\t2009\r\n"
    "2\t51\t2\t1\t4\t2009\r\n3\t51\t2\t1\t4\t2009\r\n3\t99\t3\t1\t4\t1956\r\n",
    "readme.txt": "x",
}
LASTFM_1K: Files = {
    "userid-timestamp-artid-artname-traid-traname.tsv": "user_000001\t2009-05-04T23:08:57Z\tf1b1\tDeep Dish\t\tFlash\n"
    'user_000001\t2009-05-04T13:54:10Z\t\t\u5742\u672c\t\tOne "quote\n'
    "user_000001\t2009-05-04T13:54:10Z\ta7f7\t311\tt\tTwo\ttabs\n"
    "user_000002\t2006-08-13T13:59:20Z\ta7f7\t311\tt\tOther\n",
    "userid-profile.tsv": "#id\tgender\n",
}
STEAM: Files = {
    "steam_reviews.json.gz": "{u'username': u'Chaos \\'Syren\\'', u'product_id': u'725280', u'date': u'2017-12-17', "
    "u'early_access': False, u'text': u'It would not \\n \\u5742 be'}\n"
    "{'username': 'Ariman1', 'product_id': '761140', 'date': '2017-08-02', 'hours': 13.2}\n"
    "{'username': '  ', 'product_id': '761140', 'date': '2017-08-02'}\n",
    "steam_games.json.gz": "{u'app_name': u'Nobody played', u'id': u'1'}\n{u'app_name': u'No id'}\n"
    "{u'publisher': u'K', u'genres': [u'Action', u'Indie'], u'app_name': u'Lost &amp; Found', u'id': u'761140', "
    "u'release_date': u'Jan 4, 2018', u'tags': [u'Action', u'Casual'], u'developer': u'Kotoshiro'}\n"
    "{u'title': u'The title alone', u'id': u'725280', u'release_date': u'Soon..'}\n",
}
GOODREADS: Files = {
    "goodreads_interactions_poetry.json.gz": '{"user_id": "a", "book_id": "1384", "is_read": true, "rating": 4, '
    '"date_added": "Sat Jul 14 10:33:12 -0700 2012", "read_at": ""}\n'
    '{"user_id": "a", "book_id": "007", "is_read": true, "rating": 0, "date_added": "Wed May 09 09:33:44 +0000 2007"}\n'
    '{"user_id": "b", "book_id": "9", "is_read": false, "rating": 0, "date_added": "Wed May 09 09:33:44 +0000 2007"}\n',
    "goodreads_books_poetry.json.gz": '{"book_id": "1384", "title": "The Iliad", "publication_year": "1990", '
    '"publisher": "Penguin"}\n{"book_id": "007", "title": "", "publication_year": ""}\n{"book_id": "5"}\n',
}
BOOK_CROSSING: Files = {
    "BX-Book-Ratings.csv": '"User-ID";"ISBN";"Book-Rating"\r\n"276725";"034545104X";"0"\r\n"276726";"0155061224";"5"'
    '\r\n"276726";"unlisted";"10"\r\n',
    "BX-Books.csv": (
        '"ISBN";"Book-Title";"Book-Author";"Year-Of-Publication";"Publisher";"Image-URL-S";"Image-URL-M";"Image-URL-L"\n'
        '"034545104X";"Flesh Tones; the \\"true\\" story &amp; more";"M. J. R\u00f6se";"2002";"Bal";"x";"y";"z"\n'
        '"0155061224";"Running On (Level 4)\\";Judy Run";"0";"Heinle";"x";"y";"z"\n'
        '"0155061224";"The same";"J";"1999";"H";"x";"y";"z"\n'
    ).encode("latin-1"),
    "BX-Users.csv": '"User-ID";"Location";"Age"\n',
}
KUAIREC: Files = {
    "big_matrix.csv": "user_id,video_id,play_duration,video_duration,time,date,timestamp,watch_ratio\n"
    "0,3649,13838,10867,2020-07-05 00:08:23.438,20200705,1593878903.438,1.273397\n"
    "0,9598,13665,10984,2020-07-05 00:13:41.297,20200705,1593878903.297,0.5\n",
    "kuairec_caption_category.csv": "\ufeffvideo_id,manual_cover_text,caption,topic_tag,first_level_category_id,"
    "first_level_category_name,second_level_category_id,second_level_category_name,third_level_category_id,"
    "third_level_category_name\n"
    '3649,UNKNOWN,"\u7cbe\u795e, ""\u5c0f""\n\u4f19",[\u642d\u914d],8,\u989c\u503c,673,\u989c\u503c,-124,UNKNOWN\n'
    "9598,\u5c01\u9762,,[],27,\u9ad8\u65b0,-124,UNKNOWN,-124,UNKNOWN\n",
}
LAYOUTS: dict[str, Files] = {
    "book-crossing": BOOK_CROSSING,
    "goodreads": GOODREADS,
    "kuairec": KUAIREC,
    "steam": STEAM,
    "lastfm-hetrec": LASTFM_HETREC,
    "lastfm-1k": LASTFM_1K,
    "movielens-10m": MOVIELENS_10M,
    "movielens-csv": MOVIELENS_CSV,
    "amazon-2014": AMAZON_2014,
    "amazon-2018": AMAZON_2018,
    "amazon-2023": AMAZON_2023,
}

"""The vocabulary of the sample: composed label names of our own, and how common each label is."""

from collections.abc import Iterator

import numpy as np

# Topics in order of frequency: the general label, then things; labels combine things and aspects.
_TOPICS = """
Gaming: Racing simulator, Puzzle platformer, Card duel, Chess, Pinball, Arcade, Board game, Strategy
 map, Space shooter, Farm simulator, Role-play quest, Dungeon, Trading card, Console, Joystick, Maze
Music: Piano, Guitar, Violin, Drums, Choir, Flute, Trumpet, Cello, Accordion, Harp, Saxophone, Banjo
 , Orchestra, Brass band, Jazz trio, Folk song
Vehicles: Motorcycle, Truck, Tractor, Sports car, Bus, Bicycle, Scooter, Sailboat, Helicopter, Van
 , Steam engine, Tram, Canoe, Glider, Excavator, Caravan
Sport: Football, Basketball, Tennis, Swimming, Running, Boxing, Skiing, Skating, Volleyball, Archery
 , Gymnastics, Rowing, Climbing, Handball, Golf, Fencing
Animals: Dog, Cat, Horse, Parrot, Rabbit, Elephant, Dolphin, Tortoise, Goat, Owl, Bee, Hamster
 , Fox, Penguin, Butterfly, Cow
Food: Bread, Soup, Cake, Salad, Noodle, Cheese, Coffee, Pancake, Barbecue, Chocolate, Curry, Pizza
 , Ice cream, Dumpling, Tea, Pickle
Nature: River, Forest, Mountain, Waterfall, Beach, Desert, Storm, Volcano, Lake, Glacier, Meadow
 , Coral reef, Cave, Sunrise, Snowfall, Marsh
Technology: Smartphone, Laptop, Camera, Robot, Printer, Headphones, Radio, Drone, Microscope
 , Telescope, Tablet, Projector, Keyboard, Battery, Circuit board, Amplifier
Travel: City, Castle, Harbour, Railway, Airport, Island, Village, Temple, Bridge, Campsite, Hotel
 , Lighthouse, Street, Ferry, Vineyard, Old town
Fashion: Hairstyle, Make-up, Dress, Shoe, Handbag, Jewellery, Nail polish, Perfume, Hat, Scarf
 , Wedding gown, Tailoring, Costume, Swimwear, Sunglasses, Denim
Crafts: Pottery, Knitting, Origami, Woodwork, Painting, Drawing, Candle, Quilt, Calligraphy, Leather
 , Beadwork, Sculpture, Glassblowing, Embroidery, Paper model, Basketry
Home: Kitchen, Garden, Bathroom, Furniture, Greenhouse, Roof, Fireplace, Staircase, Carpet, Balcony
 , Plumbing, Lawn, Bookshelf, Window, Wallpaper, Fence
"""
_ASPECTS = """lesson review festival contest tutorial show exhibition workshop documentary history
collection club museum market tour challenge interview demonstration championship repair design
photography news parade school studio fair guide restoration competition rehearsal trivia award
convention experiment event podcast comedy animation ceremony trailer compilation training course
shop auction factory advertisement rescue record holiday safety science art culture tradition
laboratory archive broadcast project diary expedition park family
"""


def compose_labels(classes: int) -> tuple[list[str], np.ndarray, np.ndarray, np.ndarray]:
    """Return names, topics and weights within the topic by class, and the share of each topic.

    The label of rank r is to be on clips in proportion to 1 / (r + 1). The general labels come
    first; any other class joins the topic that has least of its share so far.
    """
    lines = _TOPICS.replace("\n ,", ",").replace("\n ", " ").strip().splitlines()
    weight = 1 / np.arange(2.0, classes + 2)
    share = weight[: len(lines)] / weight[: len(lines)].sum()
    topic = np.arange(classes)
    held = np.zeros(len(lines))
    for index in range(len(lines), classes):
        topic[index] = (held / share).argmin()
        held[topic[index]] += weight[index]
    weight[: len(lines)] = held  # the general label is drawn first as often as all others
    names = [""] * classes
    for number, line in enumerate(lines):
        general, things = line.split(": ")
        composed = _names(general, things.split(", "))
        for member, name in zip(np.flatnonzero(topic == number), composed, strict=False):
            names[member] = name
    return names, topic, share, weight


def _names(general: str, things: list[str]) -> Iterator[str]:
    yield general
    yield from things
    for aspect in _ASPECTS.split():
        for thing in things:
            yield f"{thing} {aspect}"

"""The vocabulary of the sample: label names of our own, and how common each label is."""

from typing import NamedTuple

import numpy as np

# Each topic, most frequent first: its general label, then the things in it. A thing is a label by
# itself and together with every aspect ("Piano", "Piano lesson").
_TOPICS = """
Gaming: Racing simulator, Puzzle platformer, Card duel, Chess, Pinball, Arcade, Board game, Strategy
map, Space shooter, Farm simulator, Role-play quest, Dungeon, Trading card, Console, Joystick, Maze;
Music: Piano, Guitar, Violin, Drums, Choir, Flute, Trumpet, Cello, Accordion, Harp, Saxophone,
Banjo, Orchestra, Brass band, Jazz trio, Folk song;
Vehicles: Motorcycle, Truck, Tractor, Sports car, Bus, Bicycle, Scooter, Sailboat, Helicopter, Van,
Steam engine, Tram, Canoe, Glider, Excavator, Caravan;
Sport: Football, Basketball, Tennis, Swimming, Running, Boxing, Skiing, Skating, Volleyball,
Archery, Gymnastics, Rowing, Climbing, Handball, Golf, Fencing;
Animals: Dog, Cat, Horse, Parrot, Rabbit, Elephant, Dolphin, Tortoise, Goat, Owl, Bee, Hamster, Fox,
Penguin, Butterfly, Cow;
Food: Bread, Soup, Cake, Salad, Noodle, Cheese, Coffee, Pancake, Barbecue, Chocolate, Curry, Pizza,
Ice cream, Dumpling, Tea, Pickle;
Nature: River, Forest, Mountain, Waterfall, Beach, Desert, Storm, Volcano, Lake, Glacier, Meadow,
Coral reef, Cave, Sunrise, Snowfall, Marsh;
Technology: Smartphone, Laptop, Camera, Robot, Printer, Headphones, Radio, Drone, Microscope,
Telescope, Tablet, Projector, Keyboard, Battery, Circuit board, Amplifier;
Travel: City, Castle, Harbour, Railway, Airport, Island, Village, Temple, Bridge, Campsite, Hotel,
Lighthouse, Street, Ferry, Vineyard, Old town;
Fashion: Hairstyle, Make-up, Dress, Shoe, Handbag, Jewellery, Nail polish, Perfume, Hat, Scarf,
Wedding gown, Tailoring, Costume, Swimwear, Sunglasses, Denim;
Crafts: Pottery, Knitting, Origami, Woodwork, Painting, Drawing, Candle, Quilt, Calligraphy,
Leather, Beadwork, Sculpture, Glassblowing, Embroidery, Paper model, Basketry;
Home: Kitchen, Garden, Bathroom, Furniture, Greenhouse, Roof, Fireplace, Staircase, Carpet, Balcony,
Plumbing, Lawn, Bookshelf, Window, Wallpaper, Fence
"""
_ASPECTS = """
lesson review festival contest tutorial show exhibition workshop documentary history collection club
museum market tour challenge interview demonstration championship repair design photography news
parade school studio fair guide restoration competition rehearsal trivia award convention experiment
event podcast comedy animation ceremony trailer compilation training course shop auction factory
advertisement rescue record holiday safety science art culture tradition laboratory archive
broadcast project diary expedition park family
"""


class Labels(NamedTuple):
    """The classes of a sample; class t of the first ones is the general label of topic t."""

    names: list[str]
    topic: np.ndarray
    """The topic of each class."""
    topic_share: np.ndarray
    """Share of the clips that each topic has."""
    weight: np.ndarray
    """How often each class is drawn, relative to the others of its topic."""


def compose_labels(classes: int) -> Labels:
    """Make labels so that the one of rank r is on clips in proportion to 1 / (r + 1)."""
    topics = [topic.split(": ") for topic in " ".join(_TOPICS.split()).split("; ")]
    weight = 1 / np.arange(2.0, classes + 2)
    share = weight[: len(topics)] / weight[: len(topics)].sum()
    topic = np.arange(classes)
    held = np.zeros(len(topics))
    for index in range(len(topics), classes):  # joins the topic that lacks most of its share
        topic[index] = (held / share).argmin()
        held[topic[index]] += weight[index]
    weight[: len(topics)] = held  # the general label is drawn first as often as all the others
    names = np.empty(classes, object)
    for number, (general, listed) in enumerate(topics):
        things = listed.split(", ")
        pairs = [f"{thing} {aspect}" for aspect in _ASPECTS.split() for thing in things]
        members = np.flatnonzero(topic == number)
        names[members] = [general, *things, *pairs][: len(members)]
    return Labels(names.tolist(), topic, share, weight)
